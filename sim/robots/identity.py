"""Which robot: a name and a digest that depend on what is in its MJCF, not on where it lies; standard library alone.

A robot given by a path is made into one self-contained file: includes inlined, comments gone, meshes and other files
named by their own digest. Its digest, and the copy that a policy keeps in its folder, are of that form.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sim.errors import LunarError

ROBOTS = Path(__file__).resolve().parent
_FOLDERS = {"mesh": ("meshdir", "assetdir"), "hfield": ("meshdir", "assetdir"), "skin": ("meshdir", "assetdir"),
            "texture": ("texturedir", "assetdir")}  # fmt: skip
_DEEPEST = 16  # includes within includes


@dataclass(frozen=True, eq=False)
class Identity:
    """What stands in a policy's card, and what its folder keeps."""

    name: str
    """Of a folder in sim/robots/; else the file's, which never is one of those."""
    digest: str
    """SHA-256, in hex, of the self-contained form."""
    shipped: bool
    """Whether it comes with the project, so that no copy of it is needed."""
    files: dict[str, bytes]
    """``NAME.xml``, self-contained, and the files that it names, beside it."""


def robot_names() -> list[str]:
    """Folders of sim/robots/."""
    return sorted(p.stem for p in ROBOTS.glob("*/*.xml") if p.stem == p.parent.name)


def robot_file(robot: str) -> Path:
    """The MJCF of ``robot``: the path of a file or of a folder with one, or a name: the project's own before those of
    MuJoCo Menagerie, which ``lunar[robots]`` brings.

    Raises:
        LunarError: no such robot, or a folder with several.
    """
    own = ROBOTS / robot / f"{robot}.xml"
    if "/" not in robot and own.is_file():
        return own
    path = Path(robot)
    if path.is_dir():
        return _in_folder(path)
    if "/" in robot or robot.endswith(".xml"):
        if path.is_file():
            return path
        raise LunarError(f"robot '{robot}': {path} does not exist; {_HOW}: {', '.join(robot_names())}")
    if path.is_file():
        raise LunarError(f"robot '{robot}' does not end in .xml, as an MJCF does; {_CONVERT}")
    return _menagerie_file(robot)


_CONVERT = (
    "of a URDF this makes one: python -c \"import mujoco; s = mujoco.MjSpec.from_file('robot.urdf'); "
    "s.compiler.fusestatic = False; s.worldbody.first_body().add_freejoint(); s.compile(); "
    "open('robot.xml', 'w').write(s.to_xml())\""
)
_HOW = "use the path of an MJCF file, of its folder, or one of"


def _in_folder(folder: Path) -> Path:
    """The robot's file: the one with the folder's name or its end, else the only one that is no scene."""
    found = sorted(folder.glob("*.xml"))
    name = folder.resolve().name
    named = [p for p in found if name == p.stem or name.endswith(f"_{p.stem}")]
    robots = named or [p for p in found if not p.stem.startswith("scene")]
    if len(robots) > 1 and named:
        robots = [max(named, key=lambda p: len(p.stem))]
    if len(robots) != 1:
        what = ", ".join(p.name for p in robots) or "no MJCF"
        raise LunarError(f"robot '{folder}' is a folder that holds {what}; name the file of the robot")
    return robots[0]


def menagerie_names() -> list[str]:
    """Quadrupeds of MuJoCo Menagerie by the names that ``robot_file`` takes; none where it is not installed."""
    return sorted(_menagerie())


def _menagerie() -> dict[str, Any]:
    """By the name of its folder, and of its file where that is not a robot of the project's."""
    try:
        import mujoco_menagerie
    except ImportError:
        return {}
    quadrupeds = mujoco_menagerie.robots("quadruped")
    short = {r.default_model: r for r in quadrupeds if r.default_model not in robot_names()}
    return short | {r.name: r for r in quadrupeds if r.default_model not in short}


def _menagerie_file(name: str) -> Path:
    found = _menagerie()
    robot = found.get(name) or next((r for r in found.values() if r.name == name), None)
    if robot is None:
        more = "" if found else "; 'pip install lunar[robots]' brings those of MuJoCo Menagerie"
        raise LunarError(f"robot '{name}' is unknown; {_HOW}: {', '.join([*robot_names(), *sorted(found)])}{more}")
    try:
        return Path(robot.xml(robot.default_model))
    except Exception as error:  # the package has its own, and those of the network
        raise LunarError(
            f"robot '{name}' could not be fetched from MuJoCo Menagerie ({' '.join(str(error).split())}); set "
            "MENAGERIE_ROOT to a checkout of it, or name the robot's folder"
        ) from None


def identify(robot: str) -> Identity:
    """Name, digest and self-contained files of ``robot``, a name in sim/robots/ or the path of an MJCF.

    A file that says the same as a shipped robot's is that robot. One that has a shipped robot's name and says something
    else gets the beginning of its digest behind the name.

    Raises:
        LunarError: it, or a file that it names, does not exist or is no XML.
    """
    path = robot_file(robot)
    text, assets = _self_contained(path)
    digest = hashlib.sha256(text).hexdigest()
    for name in robot_names():
        if digest == _shipped_digest(name):
            return Identity(name, digest, True, {})
    name = f"{path.stem}-{digest[:8]}" if path.stem in robot_names() else path.stem
    return Identity(name, digest, False, {f"{name}.xml": text, **assets})


@functools.cache
def _shipped_digest(name: str) -> str:
    return hashlib.sha256(_self_contained(robot_file(name))[0]).hexdigest()


def _self_contained(path: Path) -> tuple[bytes, dict[str, bytes]]:
    """Canonical XML of an MJCF with its includes, and the contents of the files that it then names."""
    root = _parse(path)
    _inline(root, path.parent, _DEEPEST)
    folders = {"meshdir": "", "texturedir": "", "assetdir": ""}
    for compiler in root.iter("compiler"):
        folders |= {key: compiler.attrib.pop(key) for key in folders if key in compiler.attrib}
    assets: dict[str, bytes] = {}
    for element, key in _references(root):
        keys = _FOLDERS.get(element.tag, ("assetdir",))
        file = path.parent / next((folders[k] for k in keys if folders[k]), "") / element.attrib[key]
        try:
            data = file.read_bytes()
        except OSError as error:
            raise LunarError(f"robot {path} names the file {file}: {error.strerror or error}") from None
        if key == "file":
            element.attrib.setdefault("name", file.stem)  # which it has unless it says otherwise
        element.attrib[key] = hashlib.sha256(data).hexdigest()[:16] + file.suffix.lower()
        assets[element.attrib[key]] = data
    text = ElementTree.canonicalize(ElementTree.tostring(root, encoding="unicode"), strip_text=True)
    return text.encode() + b"\n", assets


def _references(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, str]]:
    """Elements and those of their attributes that name files: ``file`` and a cube's ``fileleft`` and so on."""
    for element in root.iter():
        for key in list(element.attrib):
            if key.startswith("file") and element.attrib[key]:
                yield element, key


def _inline(parent: ElementTree.Element, folder: Path, deeper: int) -> None:
    """Put what included files say in the places of the includes."""
    children: list[ElementTree.Element] = []
    for child in parent:
        if child.tag != "include":
            _inline(child, folder, deeper)
            children.append(child)
            continue
        included = _parse(folder / child.get("file", ""))
        if not deeper:
            raise LunarError(f"robot file {folder / child.get('file', '')} is included by itself")
        _inline(included, folder, deeper - 1)
        children += included
    parent[:] = children


def _parse(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise LunarError(f"robot {path} is not a valid MJCF: {error}") from None
    if root.tag == "robot":
        raise LunarError(f"robot {path} is a URDF and no MJCF; {_CONVERT}")
    return root
