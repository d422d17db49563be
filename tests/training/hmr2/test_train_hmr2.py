"""Training runs: exact after a kill, the same on two processes as on one, usable by the tracker."""

import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fourd_humans.body.joints import NUM_SMPL_JOINTS
from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.body.model import BodyModel
from fourd_humans.checkpoints.loading import load_state_dict
from fourd_humans.cli import main
from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.camera import released_intrinsics
from fourd_humans.people import Detections, Frame
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.model import HMR2
from fourd_humans.recovery.hmr2.stage import HMR2Recovery
from fourd_humans.recovery.hmr2.vit import ViT
from fourd_humans.training.hmr2 import losses, network
from fourd_humans.training.hmr2.annotations import from_box
from fourd_humans.training.hmr2.mocap import synthetic_mocap
from fourd_humans.training.hmr2.recipes import PRESETS
from fourd_humans.training.hmr2.tars import TarWriter
from fourd_humans.training.hmr2.training import HMR2Training, with_unused_parameters

TINY = (
    "encoder_dim=16", "encoder_depth=2", "encoder_heads=2", "encoder_patch_size=64", "decoder_dim=16",
    "decoder_depth=1", "decoder_heads=2", "decoder_dim_head=8", "decoder_mlp_dim=16",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Bodies in random poses, and pictures that say nothing of them."""
    rng = np.random.default_rng(0)
    body = BodyModel.open_body()
    folder = tmp_path_factory.mktemp("data")
    eye = torch.eye(3).expand(1, NUM_SMPL_JOINTS, 3, 3)
    joints = body.joints(eye[:, :1], eye[:, 1:], torch.zeros(1, 10))[0, :44].numpy()
    ones = np.ones((44, 1), np.float32)
    with TarWriter(folder / "tars", per_tar=4) as writer:
        for i in range(8):
            pixels = np.concatenate([joints[:, :2] * 30 + 48, ones], 1).astype(np.float32)
            person = from_box(
                np.array([20.0, 10, 70, 90]), keypoints_2d=pixels, keypoints_3d=np.concatenate([joints, ones], 1),
                body_pose=rng.normal(0, 0.3, 72).astype(np.float32), betas=rng.normal(0, 1, 10).astype(np.float32),
                has_body_pose=True, has_betas=True, shape_space=OPEN_BODY,
            )  # fmt: skip
            writer.write(f"{i}", np.full((100, 90, 3), 10 * i, np.uint8), [person])
    np.savez(folder / "mocap.npz", body_pose=rng.normal(0, 0.3, (20, 72)), betas=rng.normal(0, 1, (20, 10)))
    return folder


def arguments(data, output, *options):
    sizes = [option for size in TINY for option in ("--size", size)]
    return [
        "train", "hmr2", "--data", str(data / "tars"), "--mocap", str(data / "mocap.npz"), "--body", "open", *sizes,
        "--output", str(output), "--learning-rate", "1e-3", "--logger", "csv", "--log-every", "1", "--accelerator",
        "cpu", "--devices", "1", *map(str, options),
    ]  # fmt: skip


def train(*options):
    result = CliRunner().invoke(main, arguments(*options))
    assert result.exit_code == 0, result.output
    return load_state_dict(options[1] / "hmr2.ckpt")


def figures_of(output):
    rows = []
    for path in sorted(output.glob("logs/*/metrics.csv")):
        rows += [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(path.open())]
    return rows


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """Two epochs of two steps of two batches each, with validation."""
    output = tmp_path_factory.mktemp("run")
    options = (
        "--steps",
        4,
        "--epoch-steps",
        2,
        "--batch-size",
        2,
        "--effective-batch",
        4,
        "--validation",
        data / "tars",
    )
    return output, options, train(data, output, *options)


def differences(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def trained(weights):
    """Without what has no gradient but rounding errors, which AdamW makes steps of the learning rate of.

    Those are the keys' biases, which change all scores of a query alike, and the decoder's self-attention, whose one
    token attends to nothing but itself.
    """
    kept = dict(weights)
    for name, value in weights.items():
        if name.endswith("attn.qkv.bias"):
            query, _, values = value.chunk(3)
            kept[name] = torch.cat([query, values])
        elif name.endswith("fn.to_qkv.weight"):
            kept[name] = value.chunk(3)[2]
    return kept


def test_a_resumed_run_equals_the_unbroken_one(data, run, tmp_path):
    """The first epoch's checkpoint is all that is left of the run."""
    output, options, weights = run
    shutil.copy(output / "step=2.ckpt", tmp_path / "kept.ckpt")
    resumed = train(data, tmp_path, *options, "--resume", tmp_path / "kept.ckpt")
    assert differences(weights, resumed) == 0
    last = (
        torch.load(output / "step=4.ckpt", weights_only=True),
        torch.load(tmp_path / "step=4.ckpt", weights_only=True),
    )
    states = [checkpoint["optimizer_states"] for checkpoint in last]
    for one, other in zip(*states, strict=True):
        assert len(one["state"]) > 10
        for number, state in one["state"].items():
            assert all(torch.equal(state[name], other["state"][number][name]) for name in state)


@pytest.mark.slow
def test_accumulated_batches_equal_one_large_batch(data, run, tmp_path):
    _, options, _ = run
    small = train(data, tmp_path / "a", *options, "--stochastic-depth", 0)
    large = train(data, tmp_path / "b", *options, "--stochastic-depth", 0, "--batch-size", 4)
    assert differences(trained(small), trained(large)) < 1e-5


def test_what_is_logged(run):
    rows = figures_of(run[0])
    trained = [row for row in rows if "train/loss" in row]
    assert {"train/keypoints_2d", "train/keypoints_3d", "train/body_pose", "train/global_orient", "train/betas",
            "train/adversarial", "train/discriminator", "gradient_norm/network",
            "gradient_norm/discriminator", "learning_rate"} <= set().union(*trained)  # fmt: skip
    assert max(row["step"] for row in rows) == 4
    validated = [row for row in rows if "validation/loss" in row]
    assert [row["step"] for row in validated] == [2, 4]
    for row in validated:
        assert row["validation/PA-MPJPE"] <= row["validation/MPJPE"]
        assert 0 <= row["validation/PCK@0.05"] <= row["validation/PCK@0.1"] <= 1
    assert {path.name for path in run[0].glob("*.ckpt")} == {"hmr2.ckpt", "last.ckpt", "step=2.ckpt", "step=4.ckpt"}


def test_the_checkpoint_has_the_released_names(run):
    names = run[2].keys()
    assert "backbone.blocks.1.attn.qkv.weight" in names
    assert "smpl_head.init_body_pose" in names
    assert {n.removeprefix("discriminator.") for n in names if n.startswith("discriminator.")} == (
        Discriminator().state_dict().keys()
    )
    assert all(name.split(".")[0] in ("backbone", "smpl_head", "discriminator") for name in names)


def test_the_tracker_loads_it_without_conversion(run):
    """Its sizes and body come from the checkpoint."""
    body = BodyModel.open_body()
    for name in ("hmr2.ckpt", "last.ckpt"):
        recovery = HMR2Recovery.from_checkpoint(run[0] / name, body, "cpu", released_intrinsics)
        frame = Frame(0, 0.0, "a", np.zeros((100, 90, 3), np.uint8))
        ((_, bodies),) = recovery(
            [frame], [Detections(np.array([[20, 10, 70, 90]], np.float32), np.ones(1, np.float32))]
        )
        assert len(bodies) == 1
        assert (bodies.betas != 0).any(), "they belong to this body"
        assert bodies.shape_space == OPEN_BODY


@pytest.mark.parametrize("sizes", [{"encoder_dim": 10**9}, {"encoder_depth": "x"}, {"unknown": 1}, []])
def test_checkpoints_that_describe_nonsense(run, tmp_path, sizes):
    content = torch.load(run[0] / "hmr2.ckpt", weights_only=True)
    content["hmr2"] = json.dumps({"sizes": sizes, "shape_space": OPEN_BODY})
    torch.save(content, tmp_path / "bad.ckpt")
    with pytest.raises(FourDHumansError, match="describes no HMR"):
        HMR2.from_checkpoint(tmp_path / "bad.ckpt")


def test_a_frozen_encoder_stays_as_it_is(data, run, tmp_path):
    output, options, before = run
    after = train(data, tmp_path, *options, "--preset", "2.0a", "--initial", output / "hmr2.ckpt")
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(("backbone.", "smpl_head.init_")) or "bias" in name, name


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_same_weights(data, run, tmp_path):
    """Killed for good as soon as its first checkpoint is there."""
    _, options, weights = run
    process = subprocess.Popen(
        [sys.executable, "-m", "fourd_humans", *arguments(data, tmp_path, *options)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while not (tmp_path / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    (tmp_path / "hmr2.ckpt").unlink(missing_ok=True)
    resumed = train(data, tmp_path, *options, "--resume", tmp_path / "last.ckpt")
    assert differences(weights, resumed) == 0


@pytest.mark.slow
def test_two_processes_equal_one(data, run, tmp_path):
    """DDP with gloo on the CPU; one process takes batches of twice the size."""
    steps = ("--steps", 3, "--epoch-steps", 3, "--effective-batch", 4, "--stochastic-depth", 0, "--streams", 2)
    one = train(data, tmp_path / "one", *steps, "--batch-size", 4)
    command = [sys.executable, "-m", "fourd_humans", *arguments(data, tmp_path / "two", *steps, "--batch-size", 2)]
    command[command.index("--devices") + 1] = "2"
    subprocess.run([*command, "--strategy", "ddp"], check=True, capture_output=True, timeout=300)
    two = load_state_dict(tmp_path / "two" / "hmr2.ckpt")
    one, two = trained(one), trained(two)
    both, between = (torch.cat([of(name).flatten() for name in one]) for of in (one.get, lambda n: one[n] - two[n]))
    assert between.norm() < 1e-5 * both.norm()
    # AdamW makes much of rounding where a gradient is nearly 0: 1.4 % of a step of 1e-3 was measured.
    assert between.abs().max() < 1e-4


def test_bodies_and_losses_are_float32_under_autocast(monkeypatch):
    """The encoder alone is in lower precision; what follows from its answer is as exact as without autocast."""
    training = HMR2Training(
        {name: int(value) for name, value in (size.split("=") for size in TINY)}, BodyModel.open_body(),
        PRESETS["2.0b"], synthetic_mocap(20, 0),
    )  # fmt: skip
    monkeypatch.setattr(training, "_real_bodies", lambda count, number: training.mocap.draw((0,), 2 * count))
    outputs = []
    training.network.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    precisions = []
    hidden = training.network.backbone.blocks[0].mlp.fc1
    hidden.register_forward_hook(lambda module, inputs, output: precisions.append(output.dtype))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 255, (2, 256, 256, 3), np.uint8), "colour": np.ones((2, 3)),
        "keypoints_2d": rng.normal(size=(2, 44, 3)), "keypoints_3d": rng.normal(size=(2, 44, 4)),
        "global_orient": rng.normal(size=(2, 1, 3, 3)), "body_pose": rng.normal(size=(2, 23, 3, 3)),
        "betas": rng.normal(size=(2, 10)), "has_body_pose": np.ones(2), "has_betas": np.ones(2),
    }  # fmt: skip
    batch = {n: torch.from_numpy(v) if n == "image" else torch.from_numpy(v).float() for n, v in batch.items()}
    with torch.autocast("cpu", torch.bfloat16):
        total, of_discriminator, found = training.losses(batch, 0)
    assert precisions == [torch.bfloat16]
    assert total.dtype == of_discriminator.dtype == torch.float32
    exact = losses.supervised_losses(losses.predict(outputs[0], training.body), batch)
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value * 48 / 2, rtol=1e-6, atol=0)
    adversarial = losses.adversarial_loss(training.discriminator, outputs[0])
    torch.testing.assert_close(found["adversarial"], adversarial, rtol=1e-6, atol=0)


def test_a_run_in_bfloat16(data, tmp_path):
    weights = train(data, tmp_path, "--steps", 2, "--epoch-steps", 2, "--batch-size", 2, "--effective-batch", 2,
                    "--precision", "bf16-mixed")  # fmt: skip
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "3", "--effective-batch", "4"], "no multiple"),
        (["--steps", "5", "--epoch-steps", "2"], "cannot be divided into epochs"),
        (["--no-adversarial"], "give --mocap FILE"),
        (["--mocap", "none.npz"], "there is no file none.npz"),
        (["--size", "encoder_width=3"], "the network has no size encoder_width"),
        (["--augment", "flip=1"], "there is no 'flip' to set"),
        (["--augment", "widen=1"], "true or false"),
        (["--loss", "betas=x"], "must be a float"),
    ],
)
def test_requests_that_do_not_add_up(data, tmp_path, options, message):
    result = CliRunner().invoke(main, arguments(data, tmp_path, *options))
    assert result.exit_code == 2
    assert message in result.output


def test_the_presets_are_the_papers():
    b, a = PRESETS["2.0b"], PRESETS["2.0a"]
    assert (b.learning_rate, b.steps, b.effective_batch, b.people_of_a_sum) == (1e-5, 1_000_000, 8 * 48, 48)
    assert (a.learning_rate, a.steps, a.effective_batch, a.people_of_a_sum) == (1e-4, 100_000, 8 * 512, 512)
    assert (a.freeze_encoder, b.freeze_encoder, b.stochastic_depth) == (True, False, 0.55)
    assert (b.betas, b.weight_decay, b.schedule, b.clip) == ((0.9, 0.999), 1e-4, "constant", None)
    weights = b.weights
    assert (weights.keypoints_2d, weights.keypoints_3d, weights.betas, weights.adversarial) == (0.01, 0.05, 5e-4, 5e-4)
    assert (weights.body_pose, weights.global_orient) == (1e-3, 1e-3)


def small_vit(depth=4):
    return ViT(dim=16, depth=depth, num_heads=2, patch_size=64)


def test_stochastic_depth_grows_with_the_blocks():
    torch.manual_seed(0)
    encoder = small_vit()
    network.add_stochastic_depth(encoder, 0.6)
    x = torch.randn(2000, 1, 16)
    for block, rate in zip(encoder.blocks, (0, 0.2, 0.4, 0.6), strict=True):
        for branch in (block.attn, block.mlp):
            exact = branch.eval()(x)
            dropped = branch.train()(x)
            gone = (dropped == 0).all(-1).squeeze()
            assert gone.float().mean() == pytest.approx(rate, abs=0.04)
            torch.testing.assert_close(dropped[~gone], exact[~gone] / (1 - rate))
    assert encoder.state_dict().keys() == small_vit().state_dict().keys()


def test_gradient_checkpointing_changes_nothing():
    torch.manual_seed(0)
    plain, saving = small_vit(), small_vit()
    saving.load_state_dict(plain.state_dict())
    for encoder in (plain, saving):
        network.add_stochastic_depth(encoder, 0.5)
    network.checkpoint_gradients(saving)
    gradients = []
    for encoder in (plain.train(), saving.train()):
        torch.manual_seed(1)
        encoder(torch.ones(4, 3, 256, 192)).square().sum().backward()
        gradients.append(encoder.patch_embed.proj.weight.grad)
    torch.testing.assert_close(*gradients)


def test_initial_weights():
    """Readouts as PyTorch has them; the discriminator Xavier-uniform without biases. By the bounds of uniform draws."""
    torch.manual_seed(0)
    training = HMR2Training(
        {"encoder_dim": 16, "encoder_depth": 1, "encoder_heads": 2}, BodyModel.open_body(), PRESETS["2.0b"]
    )
    readout = training.network.smpl_head.decpose
    assert float(readout.weight.detach().abs().max()) == pytest.approx(1 / 1024**0.5, rel=0.01)
    assert float(readout.bias.detach().abs().max()) > 0.01
    layer = training.discriminator.D_alljoints_fc2
    assert float(layer.weight.detach().abs().max()) == pytest.approx((6 / 2048) ** 0.5, rel=0.01)
    assert not layer.bias.any()
    convolution = training.discriminator.D_conv1
    assert float(convolution.weight.detach().abs().max()) == pytest.approx((6 / (9 + 32)) ** 0.5, rel=0.1)


def test_small_readouts_begin_at_the_means():
    torch.manual_seed(0)
    sizes = {"encoder_dim": 16, "encoder_depth": 1, "encoder_heads": 2}
    training = HMR2Training(sizes, BodyModel.open_body(), replace(PRESETS["2.0b"], readouts="small"))
    head = training.network.smpl_head
    pose, betas, camera = head(torch.randn(4, 192, 16))
    for found, mean in ((pose, head.init_body_pose), (betas, head.init_betas), (camera, head.init_cam)):
        assert float((found - mean).detach().abs().max()) < 0.1


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_vitpose_weights(tmp_path, prefix):
    torch.manual_seed(0)
    encoder = small_vit()
    weights = {prefix + name: torch.randn_like(value) for name, value in encoder.state_dict().items()}
    beside = {"keypoint_head.final_layer.weight": torch.ones(1), f"{prefix}cls_token": torch.ones(1)}
    torch.save({"state_dict": weights | beside}, tmp_path / "vitpose.pth")
    network.load_encoder(encoder, tmp_path / "vitpose.pth")
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, weights[prefix + name])
    torch.save(
        {"state_dict": weights | {f"{prefix}blocks.0.mlp.experts.0.weight": torch.ones(1)}}, tmp_path / "plus.pth"
    )
    with pytest.raises(FourDHumansError, match="several experts"):
        network.load_encoder(encoder, tmp_path / "plus.pth")
    with pytest.raises(FourDHumansError, match="does not fit ViT"):
        network.load_encoder(small_vit(depth=5), tmp_path / "vitpose.pth")


def test_mean_parameters(tmp_path):
    decoder = HMR2(encoder_dim=16, encoder_depth=1, encoder_heads=2, decoder_dim=16, decoder_depth=1).smpl_head
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "means.npz", pose=rng.random(144), shape=rng.random(10), cam=np.array([0.9, 0, 0]))
    network.load_mean_parameters(decoder, tmp_path / "means.npz")
    np.testing.assert_allclose(decoder.init_body_pose[0], np.random.default_rng(0).random(144), rtol=1e-6)
    np.savez(tmp_path / "bad.npz", pose=rng.random(140), shape=rng.random(10), cam=np.zeros(3))
    with pytest.raises(FourDHumansError, match="its 'pose'"):
        network.load_mean_parameters(decoder, tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("ddp", "cpu", "2", 1), "ddp_find_unused_parameters_true"),
        (("auto", "cpu", "2", 1), "ddp_find_unused_parameters_true"),
        (("auto", "cpu", "1", 1), "auto"),
        (("auto", "cpu", "auto", 2), "ddp_find_unused_parameters_true"),
        (("fsdp", "cpu", "2", 1), "fsdp"),
    ],
)
def test_strategies(given, expected):
    assert with_unused_parameters(*given) == expected
