"""F-net against the published numbers, and the import of original checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from spotlight.errors import SpotlightError
from spotlight.import_fnet import import_fnet
from spotlight.networks import FNet
from spotlight.prediction import load_model


def test_published_size() -> None:
    network = FNet()
    assert sum(p.numel() for p in network.parameters()) == 23_280_769
    assert len(list(network.parameters())) == 106
    assert sum(b.numel() for b in network.buffers()) == 7_834


def test_published_cost() -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = FNet()
        network(torch.empty(1, 1, 32, 64, 64))
    assert counter.get_total_flops() == 60_171_485_184


@pytest.mark.parametrize(("dims", "shape"), [(2, (1, 1, 16, 24)), (3, (2, 1, 8, 16, 24))])
def test_keeps_the_shape_in_two_and_three_dimensions(dims: int, shape: tuple[int, ...]) -> None:
    network = FNet(dims, depth=3, mult_chan=2)
    assert network.divisor == 8
    assert network(torch.zeros(shape)).shape == shape


def test_published_initial_weights() -> None:
    torch.manual_seed(0)
    network = FNet(depth=3)
    weights = torch.cat([m.weight.detach().flatten() for m in network.modules() if isinstance(m, nn.Conv3d)])
    assert float(weights.mean()) == pytest.approx(0, abs=1e-4)
    assert float(weights.std()) == pytest.approx(0.02, rel=0.01)
    norms = torch.cat([m.weight.detach().flatten() for m in network.modules() if isinstance(m, nn.BatchNorm3d)])
    assert float(norms.mean()) == pytest.approx(1, abs=5e-3)


class OriginalLevel(nn.Module):
    """One level of the recursion, with the layer names that original checkpoints have; written from their list."""

    def __init__(self, conv: type[nn.Module], up: type[nn.Module], norm: type[nn.Module], a: int, b: int, depth: int):
        super().__init__()
        self.depth = depth

        def pair(inputs: int) -> nn.Module:
            block = nn.Module()
            block.conv1, block.bn1 = conv(inputs, b, 3, padding=1), norm(b)
            block.conv2, block.bn2 = conv(b, b, 3, padding=1), norm(b)
            return block

        self.sub_2conv_more = pair(a)
        if depth:
            self.conv_down, self.bn0 = conv(b, b, 2, stride=2), norm(b)
            self.sub_u = OriginalLevel(conv, up, norm, b, 2 * b, depth - 1)
            self.convt, self.bn1 = up(2 * b, b, 2, stride=2), norm(b)
            self.sub_2conv_less = pair(2 * b)

    def forward(self, x: Tensor) -> Tensor:
        def twice(block: nn.Module, v: Tensor) -> Tensor:
            v = torch.relu(block.bn1(block.conv1(v)))
            return torch.relu(block.bn2(block.conv2(v)))

        here = twice(self.sub_2conv_more, x)
        if not self.depth:
            return here
        below = self.sub_u(torch.relu(self.bn0(self.conv_down(here))))
        raised = torch.relu(self.bn1(self.convt(below)))
        return twice(self.sub_2conv_less, torch.cat((here, raised), 1))


class OriginalNet(nn.Module):
    def __init__(self, dims: int, depth: int, width: int) -> None:
        super().__init__()
        conv, up, norm = (
            (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)
            if dims == 2
            else (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d)
        )
        self.net_recurse = OriginalLevel(conv, up, norm, 1, width, depth)
        self.conv_out = conv(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.net_recurse(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("dims", "shape"), [(2, (1, 1, 16, 24)), (3, (1, 1, 16, 16, 24))])
@pytest.mark.parametrize("wrapped", [True, False])
def test_import_of_an_original_checkpoint(tmp_path: Path, dims: int, shape: tuple[int, ...], wrapped: bool) -> None:
    torch.manual_seed(1)
    original = OriginalNet(dims, depth=3, width=4)
    original(torch.randn(shape))  # batch-norm statistics of its own
    original.eval()
    state = original.state_dict()
    content = {"nn_module": "fnet_nn_3d", "nn_state": state, "count_iter": 5} if wrapped else state
    torch.save(content, tmp_path / "model.p")

    model = load_model(import_fnet(tmp_path / "model.p", tmp_path / "model", branch=None if wrapped else "release_1"))

    x = torch.randn(shape)
    with torch.no_grad():
        assert torch.allclose(model.networks[0](x), original(x), atol=1e-6)
    image = np.random.default_rng(0).normal(5, 2, (20, 21, 22)[-dims:])
    stain = model.predict(image, voxel_size=(0.29,) * dims)
    assert stain.shape == image.shape


def test_inputs_are_prepared_as_the_branch_that_trained_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = OriginalNet(3, depth=1, width=2).eval()
    state = original.state_dict()
    torch.save({"fnet_model_class": "fnet.fnet_model.Model", "nn_state": state}, tmp_path / "master.p")
    torch.save({"nn_module": "fnet_nn_3d", "nn_state": state}, tmp_path / "release.p")
    torch.save(state, tmp_path / "bare.p")
    with pytest.raises(SpotlightError, match=r"does not show which branch .* --branch release_1"):
        import_fnet(tmp_path / "bare.p", tmp_path / "bare")

    rng = np.random.default_rng(0)
    contrast = np.where(np.abs(np.arange(40) - 19.5) < 16, 1.0, 5.0)[:, None, None]  # stronger out of focus
    image = (100 + contrast * rng.normal(size=(40, 10, 12))).astype(np.float32)
    stain = load_model(import_fnet(tmp_path / "master.p", tmp_path / "master")).predict(image, normalised=True)
    middle = image[4:36].astype(np.float64)
    with torch.no_grad():
        scaled = torch.tensor((image - middle.mean()) / middle.std(), dtype=torch.float32)
        expected = original(scaled[None, None])[0, 0].numpy()
    np.testing.assert_allclose(np.asarray(stain.data), expected, atol=1e-4)
    with pytest.raises(SpotlightError, match=r"has 20 planes, .* 32 planes in the middle"):
        load_model(tmp_path / "master").predict(image[:20])

    released = load_model(import_fnet(tmp_path / "release.p", tmp_path / "release")).description.input
    assert (released.grid, released.central_planes, released.voxel_size) == (0.29, None, None)
    own = import_fnet(tmp_path / "release.p", tmp_path / "own", grid=0.4, voxel_size=(0.4, 0.15, 0.15))
    described = load_model(own).description.input
    assert (described.grid, described.voxel_size) == (0.4, ((0.4, 0.4), (0.15, 0.15), (0.15, 0.15)))
    with pytest.raises(SpotlightError, match="must be 3 positive lengths"):
        import_fnet(tmp_path / "release.p", tmp_path / "two", voxel_size=(0.4, 0.15))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("echo pwned",)


@pytest.mark.parametrize("content", [{"nn_state": {"x": Evil()}}, {"other.weight": torch.ones(2)}, [1, 2]])
def test_other_files_are_refused(tmp_path: Path, content: object, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(content, tmp_path / "model.p")
    with pytest.raises(SpotlightError, match=r"model\.p"):
        import_fnet(tmp_path / "model.p", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "pwned" not in capfd.readouterr().out
