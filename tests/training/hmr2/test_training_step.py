"""Three training steps against what the released code computes."""

import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.recovery.hmr2.model import HMR2Output
from fourd_humans.training.hmr2 import losses
from fourd_humans.training.hmr2.mocap import MotionCapture
from fourd_humans.training.hmr2.recipes import Recipe
from fourd_humans.training.hmr2.training import HMR2Training, own_names

STEPS = 3
DATA = Path(__file__).parents[2] / "data"


class GivenMocap(MotionCapture):
    """The bodies in their order."""

    def draw(self, seed, count, part=0, parts=1):
        assert count == len(self.betas)
        return axis_angle_to_matrix(torch.from_numpy(self.body_pose).unflatten(1, (23, 3))), torch.from_numpy(
            self.betas
        )


class Watch(Callback):
    """Keeps the losses and the gradients' norms of each step."""

    def __init__(self):
        self.losses, self.norms, self.total_norms, self.first_gradients = [], [], [], {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        named = {
            name.removeprefix("network."): parameter.grad.clone()
            for name, parameter in module.named_parameters()
            if id(parameter) in owned and parameter.grad is not None
        }
        self.norms.append({name: float(gradient.norm()) for name, gradient in named.items()})
        self.first_gradients = self.first_gradients or named
        self.total_norms.append(float(trainer.callback_metrics.get("gradient_norm", np.nan)))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        self.losses.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.fixture(scope="module")
def stored(figures):
    return figures("training_step.npz"), figures("training_step.json")


@pytest.fixture(scope="module")
def batch(stored):
    arrays = {name: torch.from_numpy(values) for name, values in stored[0].items()}
    return {
        "image": torch.from_numpy(np.random.default_rng([0, 7]).standard_normal((3, 3, 256, 256)).astype(np.float32)),
        "colour": torch.ones(3, 3),
        "keypoints_2d": arrays["keypoints_2d"],
        "keypoints_3d": arrays["keypoints_3d"],
        "global_orient": axis_angle_to_matrix(arrays["global_orient"])[:, None],
        "body_pose": axis_angle_to_matrix(arrays["body_pose"].unflatten(1, (23, 3))),
        "betas": arrays["betas"],
        "has_body_pose": arrays["has_body_pose"],
        "has_betas": arrays["has_betas"],
    }


@pytest.fixture(scope="module")
def run(stored, batch, fill_weights, small, tmp_path_factory):
    arrays, numbers = stored
    mocap = GivenMocap(arrays["mocap_body_pose"], arrays["mocap_betas"])
    recipe = Recipe(learning_rate=numbers["learning_rate"], people_of_a_sum=3, stochastic_depth=0.0)
    training = HMR2Training(small, BodyModel.open_body(), recipe, mocap)
    weights = {name: value for name, value in training.state_dict().items() if not name.startswith("body.")}
    released = {name.removeprefix("network."): value for name, value in weights.items()}
    filled = fill_weights(released)
    for name in ("body_pose", "betas", "cam"):
        filled[f"smpl_head.init_{name}"] = torch.from_numpy(arrays[f"init_{name}"])[None]
    training.load_state_dict(own_names(filled))
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "normalise", lambda images, colour: images)
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[watch],
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path_factory.mktemp("run"),
        )  # fmt: skip
        trainer.fit(training, torch.utils.data.DataLoader([batch] * STEPS, batch_size=None))
    assert training.step == STEPS
    return watch, training


NAMES = {
    "keypoints_2d": "loss_keypoints_2d", "keypoints_3d": "loss_keypoints_3d", "global_orient": "loss_global_orient",
    "body_pose": "loss_body_pose", "betas": "loss_betas", "adversarial": "loss_gen", "discriminator": "loss_disc",
}  # fmt: skip
TOLERANCE = 1e-5  # relative; measured 1e-6


def test_losses(run, stored):
    watch, expected = run[0], stored[1]["steps"]
    for found, step in zip(watch.losses, expected, strict=True):
        for ours, theirs in NAMES.items():
            assert found[f"train/{ours}"] == pytest.approx(step["losses"][theirs], rel=TOLERANCE)
        assert found["train/loss"] == pytest.approx(step["generator_total"], rel=TOLERANCE)


def test_gradients(run, stored):
    """Those of the network, then those of the discriminator, in each step."""
    watch, expected = run[0], stored[1]["steps"]
    for number, step in enumerate(expected):
        for norms, name, all_of in (
            (watch.norms[2 * number], "grad_norm", "grad_norm_all_generator"),
            (watch.norms[2 * number + 1], "discriminator_grad_norm", "grad_norm_all_discriminator"),
        ):
            for parameter, norm in step[name].items():
                assert norms[parameter] == pytest.approx(norm, rel=TOLERANCE), parameter
            assert np.sqrt(np.square(list(norms.values())).sum()) == pytest.approx(step[all_of], rel=TOLERANCE)
        found = watch.losses[number]
        assert found["gradient_norm/network"] == pytest.approx(step["grad_norm_all_generator"], rel=TOLERANCE)
    for readout in ("deccam", "decshape"):
        gradient = watch.first_gradients[f"smpl_head.{readout}.bias"]
        np.testing.assert_allclose(gradient, stored[0][f"grad_{readout}_bias"], rtol=1e-4, atol=1e-6)


def test_parameters_after_three_steps(run, stored):
    named = {name.removeprefix("network."): value for name, value in run[1].named_parameters()}
    for name, norm in stored[1]["parameter_norm_after_3_steps"].items():
        assert float(named[name].detach().norm()) == pytest.approx(norm, rel=TOLERANCE), name


def test_names_are_the_released_ones(run):
    """And the shapes. The body's arrays are left out, which the released code fills in from SMPL's file."""
    checkpoint = {"state_dict": run[1].state_dict()}
    run[1].on_save_checkpoint(checkpoint)
    shapes = {name: list(value.shape) for name, value in checkpoint["state_dict"].items()}
    assert shapes == json.loads((DATA / "hmr2" / "hmr2_small_manifest.json").read_text())


def test_losses_against_the_released_functions(figures):
    stored = {name: torch.from_numpy(np.asarray(values)) for name, values in figures("losses.npz").items()}
    found = losses.keypoint_loss_2d(stored["pred_2d"], stored["gt_2d"])
    assert float(found) == pytest.approx(float(stored["loss_2d"]), rel=1e-6)
    found = losses.keypoint_loss_3d(stored["pred_3d"], stored["gt_3d"])
    assert float(found) == pytest.approx(float(stored["loss_3d"]), rel=1e-6)
    found = losses.parameter_loss(stored["pred_param"], stored["gt_param"], stored["has_param"])
    assert float(found) == pytest.approx(float(stored["loss_param"]), rel=1e-6)


def test_real_bodies_count_twice():
    """Twice as many of them, divided by the number of predicted ones."""

    class Half(torch.nn.Module):
        def forward(self, pose, betas):
            return torch.full((len(betas), 25), 0.5)

    def bodies(count):
        return torch.eye(3).expand(count, 23, 3, 3), torch.zeros(count, 10)

    output = HMR2Output(torch.eye(3).expand(4, 1, 3, 3), *bodies(4), torch.zeros(4, 3))
    assert float(losses.adversarial_loss(Half(), output)) == pytest.approx(25 / 4)
    assert float(losses.discriminator_loss(Half(), output, *bodies(8))) == pytest.approx(25 / 4 + 2 * 25 / 4)
