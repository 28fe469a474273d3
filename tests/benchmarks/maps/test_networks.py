"""Learned filters: what they are trained on, and that what is written is what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.maps import networks
from benchmarks.maps.degrade import NOISE, UNSEEN
from sim.errors import LunarError
from sim.files import ROOT
from sim.terrain.cards import FilterCard, card_json, file_digest, load_card
from sim.terrain.filters import named_filter, network, network_input


def test_a_file_does_what_the_network_did(tmp_path):
    torch.manual_seed(0)
    net = networks.Unet(8)
    (tmp_path / "net.onnx").write_bytes(networks._onnx(net))
    z = np.random.default_rng(0).normal(0.0, 0.03, (70, 53))
    z[10:14, 20:24] = np.nan
    x, unit, whole = network_input(z)
    padded = np.pad(x, [(0, 0), (0, 10), (0, 11)], mode="edge")
    with torch.no_grad():
        added = net(torch.from_numpy(padded[None]).float())[0, 0, :70, :53].numpy()
    restored = network(tmp_path / "net.onnx")(z, 0.05)
    np.testing.assert_allclose(restored, whole + unit * added, atol=1e-5)
    with pytest.raises(LunarError, match="no card"):
        named_filter(str(tmp_path / "net.onnx"))
    digest = file_digest(tmp_path / "net.onnx")
    (tmp_path / "net.json").write_text(card_json(FilterCard("net", "", digest, load_card("wiener").noise, ())))
    np.testing.assert_array_equal(named_filter(str(tmp_path / "net.onnx"))(z, 0.05), restored)


def test_a_file_that_is_no_filter_is_refused(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(LunarError, match="no network that onnxruntime can run"):
        network(tmp_path / "junk.onnx")
    with pytest.raises(LunarError, match="is no map filter"):
        network(ROOT / "policy/zoo/pronk/policy.onnx")


@pytest.mark.parametrize("name", networks.LEARNED)
def test_each_kind_trains(name, monkeypatch):
    monkeypatch.setattr(networks, "PATCHES", 8)
    seen: list[float] = []
    fit = networks._fit

    def watched(net, steps, title, loss_of):
        def loss():
            value = loss_of()
            seen.append(float(value.detach()))
            return value

        fit(net, steps, title, loss)

    monkeypatch.setattr(networks, "_fit", watched)
    torch.manual_seed(0)
    kind = {"paired": networks._paired, "self": networks._self_supervised, "unpaired": networks._unpaired}[name]
    kind(networks._data(), 8, 0)
    assert np.isfinite(seen).all()
    if name == "paired":  # the others see a few samples at a time, or have a critic that moves the goal
        assert np.mean(seen[-3:]) < np.mean(seen[:3])


def test_networks_never_see_the_noises_that_are_kept_from_them():
    assert set(UNSEEN) < set(NOISE)
    assert {"stereo", "stripes-3cm"} <= set(UNSEEN)
