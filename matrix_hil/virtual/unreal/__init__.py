"""A stand-in for Unreal Engine with the UnrealCV plugin: its bytes on the wire, over any height field."""

from matrix_hil.virtual.unreal.commands import ServerConfig
from matrix_hil.virtual.unreal.server import Misbehaviour, TwinServer

__all__ = ["Misbehaviour", "ServerConfig", "TwinServer"]
