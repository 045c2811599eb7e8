"""Distillation: its losses by their definitions, which states and frames belong together, what a student learns."""

import copy
import json
import math
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import edited, tiny
from safetensors import safe_open
from speech import toys
from zygote import Child, Zygote

import sottovoce as sv
from sottovoce.distillation import losses
from sottovoce.distillation.objective import Distiller, layer_states, whole_mask
from sottovoce.distillation.plan import Distillation, Match, Student, matched
from sottovoce.distillation.run import judged_on
from sottovoce.distillation.source import kept_states, pays, speech_of_both
from sottovoce.distillation.student import find_teacher, make_student, wanted_clusters
from sottovoce.errors import SottovoceError
from sottovoce.files import working_in
from sottovoce.methods.distill import distill
from sottovoce.methods.pretrain import pretrain
from sottovoce.models.anatomy import Anatomy
from sottovoce.models.encoder import Encoder
from sottovoce.models.front_end import LogMel
from sottovoce.models.padding import exact_padding
from sottovoce.pretraining.unit_head import keep_unit_head
from sottovoce.training import Training

DATA = toys()
LOSSES = ("cluster_kl", "hidden", "distilhubert", "arm", "star")
SHORT: dict[str, Any] = {"train": {"steps": 3, "lr": 1e-3}, "batch_seconds": 4, "dropout": 0.0, "cache": False}


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def with_clusters(model: Any, clusters: int = 6, seed: int = 0) -> Any:
    """A model with a head over clusters beside it, as pretraining leaves one."""
    from safetensors.torch import save

    width = Anatomy(model).setting("hidden_size")
    tensors = {"head.weight": 0.3 * drawn(clusters, width, seed=seed).float(), "head.bias": torch.zeros(clusters)}
    tensors |= {"centres": drawn(clusters, 5).float(), "mean": torch.zeros(5), "std": torch.ones(5)}
    model.processor_files = {"units.safetensors": save(tensors, metadata={"sottovoce": '{"plan": {"layer": 1}}'})}
    return model


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(first @ second) / math.sqrt(float(first @ first) * float(second @ second))


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    return sum(abs(float(a) - float(b)) for a, b in zip(first, second, strict=True)) / len(first)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_cluster_kl_is_its_definition(temperature: float) -> None:
    student, teacher = drawn(4, 5), 2 * drawn(4, 5, seed=1)
    wanted = 0.0
    for mine, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(x / temperature) for x in theirs]
        q = [math.exp(x / temperature) for x in mine]
        wanted += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    found = losses.cluster_kl(student, teacher, temperature=temperature)
    assert float(found) == pytest.approx(temperature**2 * wanted, rel=1e-12) and wanted > 0.1


def test_losses_between_states_are_their_definitions() -> None:
    student, teacher = drawn(4, 6), drawn(4, 6, seed=1)
    frames = list(zip(student, teacher, strict=True))
    wanted = sum(apart(a, b) - cosine(a, b) for a, b in frames)
    assert float(losses.hidden(student, teacher)) == pytest.approx(wanted, rel=1e-12)
    wanted = sum(apart(a, b) + 0.5 * math.log(1 + math.exp(-cosine(a, b))) for a, b in frames)
    assert float(losses.distilhubert(student, teacher, weight=0.5)) == pytest.approx(wanted, rel=1e-12)


def test_masking_distillation_is_its_definition() -> None:
    student, clean, masked = drawn(5, 6), drawn(5, 6, seed=1), drawn(5, 6, seed=2)
    mask = torch.tensor([True, False, False, True, True])
    wanted = 0.0
    for frame in range(5):
        target = clean[frame] if mask[frame] else masked[frame]
        wanted += sum(float(student[frame, k] - target[k]) ** 2 for k in range(6)) / 6
    assert float(losses.arm(student, clean, masked, mask)) == pytest.approx(wanted, rel=1e-12)


def test_star_is_its_definition() -> None:
    student = [drawn(4, 3, seed=seed) for seed in range(3)]
    teacher = [drawn(4, 7, seed=seed) for seed in range(5, 8)]
    wanted = 0.0
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2)):
        for a in range(4):
            for b in range(4):
                mine, theirs = cosine(student[i][a], student[j][b]), cosine(teacher[i][a], teacher[j][b])
                wanted += (mine - theirs) ** 2 / 4
    assert float(losses.star(student, teacher)) == pytest.approx(wanted, rel=1e-12)
    assert float(losses.star(student[:1], teacher[:1])) > 0, "one state has no neighbour"


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "wanted"),
    [
        ("hidden", 12, 12, [(0, 0), (4, 4), (8, 8), (12, 12)]),
        ("hidden", 2, 12, [(0, 0), (1, 6), (2, 12)]),
        ("hidden", 1, 4, [(0, 0), (1, 4)]),
        ("distilhubert", 2, 12, [(2, 4), (2, 8), (2, 12)]),
        ("distilhubert", 3, 2, [(3, 1), (3, 2)]),
        ("arm", 3, 12, [(1, 4), (2, 8), (3, 12)]),
        ("star", 2, 24, [(0, 0), (1, 12), (2, 24)]),
        ("cluster_kl", 2, 12, []),
    ],
)
def test_states_at_the_same_depth_belong_together(loss: Any, student: int, teacher: int, wanted: list[Any]) -> None:
    pairs = matched(Distillation(loss=loss, student=Student(student)), student, teacher)
    assert [(pair.student, pair.teacher) for pair in pairs] == wanted
    assert [pair.weight for pair in pairs] == [
        0.1 if loss == "arm" and pair is not pairs[-1] else 1.0 for pair in pairs
    ]


def test_chosen_states_are_matched() -> None:
    pairs = matched(Distillation(student=Student(2), match=Match(layers=(12, 1, 7))), 2, 12)
    assert [(pair.student, pair.teacher) for pair in pairs] == [(1, 1), (1, 7), (2, 12)], "no layer with its input"


def ready(loss: Any, student: Any, teacher: Any, **options: Any) -> tuple[Any, tuple[Encoder, Encoder], Distillation]:
    """An objective with its views, before any training."""
    plan = Distillation(loss=loss, student=Student(1), batch_seconds=4, match=Match(**options))
    views = Encoder(student, outputs=plan.outputs), Encoder(teacher, outputs=plan.outputs)
    pairs = matched(plan, views[0].depth - 1, views[1].depth - 1)
    clusters = wanted_clusters(teacher) if plan.outputs else None
    teacher.requires_grad_(False)
    return Distiller(student, teacher, plan, pairs, views[1].width, clusters), views, plan


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_reach_the_student_alone_and_padding_counts_for_nothing(loss: Any) -> None:
    torch.manual_seed(0)
    student, teacher = tiny("hubert", num_hidden_layers=2), with_clusters(tiny("wavlm", seed=1))
    objective, views, plan = ready(loss, student, teacher, share=0.3, span=2)
    source = speech_of_both(*views, DATA[:3], plan)
    with exact_padding(student), exact_padding(teacher):
        objective.train()
        assert not any(module.training for module in teacher.modules()) and student.training
        objective.eval()
        together, frames = objective(source.load([0, 1, 2]), torch.Generator().manual_seed(0))
        together.backward()
        together = together.detach()
        assert float(frames) == sum(views[0].frames(len(np.asarray(u.audio))) for u in DATA[:3])
        if loss != "arm":  # whose masks would be others
            with torch.no_grad():
                alone = sum(float(objective(source.load([item]))[0]) for item in range(3))
            assert float(together) == pytest.approx(alone, rel=1e-4)
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert objective.teacher_head is None or objective.teacher_head.weight.grad is None
    for layer in range(2):
        gradient = Anatomy(student).feed_forward(layer)[1].weight.grad
        assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("family", ["hubert-large", "wavlm", "sew", "wav2vec2-conformer", "use_log_mel"])
def test_the_loss_is_what_the_states_say(family: str) -> None:
    """By hand, on one utterance: a forward pass of each model, the frames matched by their times, the sum."""
    teacher, student = tiny("wav2vec2-large", seed=3), tiny("hubert") if family == "use_log_mel" else tiny(family)
    if family == "use_log_mel":
        sv.edits.use_log_mel(student, bins=10)
    objective, views, plan = ready("hidden", student, teacher)
    with torch.no_grad():
        loss, frames = objective.eval()(speech_of_both(*views, DATA[:1], plan).load([0]))
        audio = [np.asarray(DATA[0].audio)]
        mine, theirs = (layer_states(view, view.inputs(audio)) for view in views)
        times, others = views[0].centers(int(frames)), views[1].centers(theirs[0].shape[1])
        places = views[1].nearest(times).clip(0, len(others) - 1)
        for moment, place in zip(times, places, strict=True):  # of two that are as near, either may be taken
            assert abs(others[place] - moment) <= np.abs(others - moment).min() + 1e-9
        wanted = sum(
            float(losses.hidden(mine[pair.student][0, : int(frames)], theirs[pair.teacher][0, places]))
            for pair in objective.pairs
        ) / len(objective.pairs)
        inputs = views[0].inputs(audio)
        output, raw = student(**inputs)[0], views[0].states(inputs)
        read = (
            [student.encoder.layers[layer].layer_norm(raw[layer]) for layer in range(4)] if "large" in family else raw
        )
    assert float(loss) == pytest.approx(wanted, rel=1e-4) and len(objective.pairs) == 4
    for layer in range(4):
        assert torch.equal(mine[layer], read[layer]), "what the next layer's attention hears"
    assert family == "sew" or torch.equal(mine[4], output), "and behind the norm at the end"


@pytest.mark.parametrize("loss", ["hidden", "distilhubert", "arm"])
def test_states_are_averaged_or_weighted_as_their_authors_do(loss: Any) -> None:
    """The published code takes means over batch, states, time and width at once; ARMHuBERT's adds its hints up."""
    objective, _, plan = ready(loss, tiny("hubert"), tiny("hubert", seed=1))
    count = len(objective.pairs)
    mine, clean, masked = (drawn(2, count, 7, 5, seed=seed) for seed in range(3))
    inside, mask = torch.ones(2, 7, dtype=torch.bool), drawn(2, 7, seed=4) > 0
    split = [list(state.unbind(1)) for state in (mine, clean, masked)]
    found = objective.loss(split[0], split[1:], inside, mask) / inside.sum()
    distance = (mine - clean).abs().mean()
    cosines = torch.nn.functional.cosine_similarity(mine, clean, dim=-1)
    target = torch.where(mask[:, None, :, None], clean, masked)
    each = (mine - target).square().mean((0, 2, 3))
    wanted = {
        "hidden": distance - cosines.mean(),
        "distilhubert": distance + (1 + (-cosines).exp()).log().mean(),
        "arm": 0.1 * each[:-1].sum() + each[-1],
    }[loss]
    assert count > 1 and float(found) == pytest.approx(float(wanted), rel=1e-12)


def test_heads_of_distilhubert_are_linear_gelu_linear() -> None:
    objective, *_ = ready("distilhubert", tiny("hubert"), tiny("hubert-large", hidden_size=40, seed=1))
    states = drawn(3, 32)
    for head in objective.double().maps:
        assert isinstance(head, torch.nn.Sequential)
        first: Any = head[0]
        last: Any = head[2]
        inner = states @ first.weight.T + first.bias
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        torch.testing.assert_close(head(states), inner @ last.weight.T + last.bias)
        assert (first.in_features, first.out_features, last.out_features) == (32, 32, 40)


def test_masks_reach_the_right_frames_of_both_models() -> None:
    torch.manual_seed(0)
    student, teacher = edited("hubert", "use_log_mel"), tiny("hubert-large", seed=1, mask_time_prob=0.1)
    objective, views, plan = ready("arm", student, teacher, share=0.3, span=2)
    source = speech_of_both(*views, DATA[:2], plan)
    heard = source.load([0, 1])
    time = int(heard.frames.max())
    mask = torch.zeros(2, time, dtype=torch.bool)
    mask[:, 5:9] = True
    clean, hidden = objective.eval().teacher_states(heard, time, mask)
    assert torch.equal(clean[-1], objective.teacher_states(heard, time, None)[0][-1])
    masked = []
    handle = teacher.encoder.register_forward_pre_hook(lambda module, args: masked.append(args[0].clone()))
    objective.teacher_states(heard, time, mask)
    handle.remove()
    erased = (masked[-1][0] == teacher.masked_spec_embed).all(-1)
    centers = views[1].centers(len(erased))
    edges = views[0].centers(time)[[5, 8]]
    half = views[0].field()[1] / 2 / 16_000
    assert 0 < int(erased.sum()) < len(erased) and not torch.equal(clean[-1], hidden[-1])
    inside = (centers > edges[0] - half + 1e-3) & (centers < edges[1] + half - 1e-3)
    outside = (centers < edges[0] - half - 1e-3) | (centers > edges[1] + half + 1e-3)
    assert erased[torch.from_numpy(inside)].all() and not erased[torch.from_numpy(outside)].any()


def test_sew_is_masked_at_the_rate_of_its_front_end() -> None:
    encoder = Encoder(tiny("sew"))
    inputs = encoder.inputs([np.asarray(DATA[0].audio)])
    mask = torch.zeros(1, encoder.frames(len(np.asarray(DATA[0].audio))), dtype=torch.bool)
    mask[:, 3] = True
    whole = whole_mask(encoder, inputs, mask)
    assert whole[0].nonzero().flatten().tolist() == [6, 7]
    assert whole.shape[1] == encoder.model.feature_extractor(inputs["input_values"]).shape[-1]


@pytest.mark.parametrize("loss", LOSSES)
def test_two_layers_learn_to_be_like_four(loss: Any, tmp_path: Path) -> None:
    model = with_clusters(tiny("hubert-large", seed=2))
    before = copy.deepcopy(model.state_dict())
    options = {**SHORT, "match": {"share": 0.3, "span": 2}}
    with working_in(tmp_path):
        options["train"] = {"steps": 1, "lr": 1e-9, "validate_every": 1}
        first = distill(model, DATA, loss=loss, student={"layers": 2}, **options)
    with working_in(tmp_path / "on"):
        options["train"] = {"steps": 40, "lr": 3e-3, "validate_every": 20}
        second = distill(model, DATA, loss=loss, student={"layers": 2}, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "its input stays"
    assert len(first.encoder.layers) == len(second.encoder.layers) == 2 and not second.training
    scores = [
        [row["validation_loss"] for row in map(json.loads, lines.read_text().splitlines()) if "score" in row]
        for lines in (tmp_path / "distill" / "log.jsonl", tmp_path / "on" / "distill" / "log.jsonl")
    ]
    # The two losses with a cosine have their least at -1 and at log(1 + 1/e).
    least = {"hidden": -1.0, "distilhubert": math.log(1 + math.exp(-1))}.get(loss, 0.0)
    assert min(scores[1]) - least < 0.8 * (scores[0][0] - least), scores
    assert all(torch.equal(a, b) for a, b in zip(conv(model), conv(second), strict=True)), "the front end is frozen"


def conv(model: Any) -> list[torch.Tensor]:
    return [tensor for name, tensor in model.state_dict().items() if "feature_extractor" in name]


@pytest.mark.parametrize("family", ["wav2vec2", "hubert-large", "wavlm", "use_log_mel", "sew", "mimic_linear"])
@pytest.mark.parametrize("loss", LOSSES)
def test_families_take_steps(family: str, loss: Any) -> None:
    teacher = edited("hubert", family) if "_" in family else tiny(family)
    kept = {"student": {"start": "random"}} if family == "mimic_linear" else {"student": {"layers": 1}}
    model = with_clusters(teacher)
    learnt = distill(model, DATA[:9], loss=loss, match={"span": 2}, **kept, **SHORT)
    assert type(learnt) is type(model) and len(Encoder(learnt).body.order) == (2 if "start" in kept["student"] else 1)  # type: ignore[union-attr]
    assert all(bool(tensor.isfinite().all()) for tensor in learnt.state_dict().values())
    trained = [name for name, p in learnt.named_parameters() if not torch.equal(p, at(model, name))]
    assert any("encoder" in name for name in trained)


def at(model: Any, name: str) -> torch.Tensor:
    return dict(model.named_parameters())[name]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_student_of_another_width_with_log_mel_learns_from_a_folder(loss: Any, tmp_path: Path) -> None:
    sv.save(with_clusters(tiny("hubert", seed=4)), tmp_path / "teacher")
    narrow = tiny("wavlm", hidden_size=24, num_attention_heads=4, num_hidden_layers=2)
    learnt = distill(
        narrow,
        DATA[:12],
        teacher=str(tmp_path / "teacher"),
        loss=loss,
        student={"log_mel": True},
        match={"span": 2},
        **SHORT,
    )
    front = learnt.feature_extractor
    assert isinstance(front, LogMel) and bool(front.mean.any()), "calibrated"
    assert not isinstance(narrow.feature_extractor, LogMel) and learnt.config.hidden_size == 24
    sv.save(learnt, tmp_path / "student")
    again = sv.load(tmp_path / "student")
    assert all(torch.equal(tensor, learnt.state_dict()[name]) for name, tensor in again.state_dict().items())
    assert (tmp_path / "student" / "units.safetensors").is_file() == (loss == "cluster_kl")


def test_the_head_over_clusters_goes_on_from_student_to_student(tmp_path: Path) -> None:
    model = pretrain(tiny("hubert-large", seed=1), DATA, units={"clusters": 5}, train={"steps": 2}, batch_seconds=4)
    sv.save(model, tmp_path / "teacher")
    other = tiny("hubert-large", seed=2, num_hidden_layers=1)
    learnt = distill(
        other, DATA, teacher=str(tmp_path / "teacher"), loss="cluster_kl", match={"temperature": 2.0}, **SHORT
    )
    sv.save(learnt, tmp_path / "student")
    with (
        safe_open(str(tmp_path / "teacher" / "units.safetensors"), "pt") as first,
        safe_open(str(tmp_path / "student" / "units.safetensors"), "pt") as second,
    ):
        assert first.metadata() == second.metadata() and set(first.keys()) == set(second.keys())
        same = [name for name in first.keys() if torch.equal(first.get_tensor(name), second.get_tensor(name))]  # noqa: SIM118
        assert sorted(same) == ["centres", "mean", "std"], "the head has learnt, the codebook is the same"
        near = (first.get_tensor("head.weight") - second.get_tensor("head.weight")).abs().max()
        assert float(near) < 0.02, "it began as the teacher's"
    again = distill(sv.load(tmp_path / "student"), DATA, loss="cluster_kl", student={"start": "random"}, **SHORT)
    assert wanted_clusters(again).tensors["head.weight"].shape == (5, 32)


def test_files_beside_a_model_stay_beside_it(tmp_path: Path) -> None:
    sv.save(tiny("hubert", head="ForCTC"), tmp_path / "a")
    (tmp_path / "a" / "vocab.json").write_text('{"<pad>": 0, "a": 1}')
    model, donor = sv.load(tmp_path / "a"), wanted_clusters(with_clusters(tiny("hubert")))
    keep_unit_head(model, donor.head(), donor)
    sv.save(model, tmp_path / "b")
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert {"vocab.json", "units.safetensors", "preprocessor_config.json"} <= names


def test_a_task_head_stays_as_it_was() -> None:
    model = tiny("hubert", head="ForCTC")
    learnt = distill(model, DATA[:9], student={"layers": 2}, **SHORT)
    assert type(learnt) is type(model) and torch.equal(learnt.lm_head.weight, model.lm_head.weight)
    assert torch.equal(learnt.lm_head.bias, model.lm_head.bias)
    moved = at(learnt, "hubert.encoder.layers.0.attention.q_proj.weight")
    assert not torch.equal(moved, at(model, "hubert.encoder.layers.0.attention.q_proj.weight"))


def test_random_students_are_drawn_by_the_seed() -> None:
    models = [edited("hubert", "everything") for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        state = torch.get_rng_state()
        make_student(model, Student(start="random"), seed)
        assert torch.equal(torch.get_rng_state(), state), "the caller's chance stays"
    weights = [model.state_dict()["encoder.layers.0.attention.v_proj.weight"] for model in models]
    old = edited("hubert", "everything").state_dict()["encoder.layers.0.attention.v_proj.weight"]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], old) and weights[0].shape == old.shape
    mel = edited("hubert", "use_log_mel")
    mel.feature_extractor.mean.fill_(3.0)
    make_student(mel, Student(start="random"), 0)
    assert bool((mel.feature_extractor.mean == 3.0).all()), "what it knows of the corpus is no weight"


def test_a_front_end_learns_where_it_should() -> None:
    model = tiny("hubert")
    free = distill(model, DATA[:9], student={"layers": 1, "freeze_front_end": False}, **SHORT)
    drawn_anew = distill(model, DATA[:9], student={"start": "random"}, **{**SHORT, "train": {"steps": 3, "lr": 1e-2}})
    fresh = tiny("hubert")
    make_student(fresh, Student(start="random"), 0)
    assert not all(torch.equal(a, b) for a, b in zip(conv(free), conv(model), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(conv(drawn_anew), conv(fresh), strict=True))


def test_layers_that_skip_by_chance_and_masks_stand_still_meanwhile() -> None:
    model = tiny("hubert", layerdrop=0.9, mask_time_prob=0.5, mask_time_length=2)
    learnt = distill(model, DATA[:9], student={"layers": 3}, **SHORT)
    assert learnt.config.layerdrop == 0.9 and learnt.config.apply_spec_augment


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "arm"])
def test_kept_states_are_those_of_the_step(loss: Any, tmp_path: Path) -> None:
    student, teacher = edited("hubert", "use_log_mel"), with_clusters(tiny("hubert-large", seed=1))
    objective, views, plan = ready(loss, student, teacher)
    shelf = kept_states(views[1], [pair.teacher for pair in objective.pairs], DATA[:7], tmp_path, plan)
    kept = Distiller(
        student, None, plan, objective.pairs, views[1].width, wanted_clusters(teacher) if plan.outputs else None
    )
    kept.load_state_dict({k: v for k, v in objective.state_dict().items() if not k.startswith("teacher.")})
    found = []
    with exact_padding(student), exact_padding(teacher), torch.no_grad():
        for each, shelves in ((objective, None), (kept, shelf)):
            source = speech_of_both(*views, DATA[:7], plan, shelf=shelves)
            found.append(judged_on(each.eval(), source, plan)(each)[0])
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-5) and found[0] != found[1]
    written = (tmp_path / "rows.bin").stat().st_mtime_ns
    kept_states(views[1], [pair.teacher for pair in objective.pairs], DATA[:7], tmp_path, plan)
    assert (tmp_path / "rows.bin").stat().st_mtime_ns == written, "the teacher is asked once"


def test_kept_states_of_a_cut_are_a_slice_of_the_whole(tmp_path: Path) -> None:
    student, teacher = edited("hubert", "use_log_mel"), tiny("hubert-large", seed=1)
    objective, views, plan = ready("hidden", student, teacher)
    shelf = kept_states(views[1], [pair.teacher for pair in objective.pairs], DATA[:9], tmp_path, plan)
    items = [0, 3, 7]
    plain, stored = (speech_of_both(*views, DATA[:9], plan, shelf=found, seed=1).load(items) for found in (None, shelf))
    assert torch.equal(plain.inputs["input_values"], stored.inputs["input_values"]) and stored.kept is not None
    assert len(set(plain.frames.tolist())) == 1 and bool(plain.inputs["attention_mask"].all()), "no frame is padding"
    rows = {len(shelf[DATA[item].id]) for item in items}
    assert len(rows) > 1, "they were of different lengths"
    for item, kept in zip(items, stored.kept, strict=True):
        whole = torch.from_numpy(np.array(shelf[DATA[item].id]))
        places = [int((whole == frame).all(-1).all(-1).nonzero()[0]) for frame in kept]
        steps = set(np.diff(places).tolist())
        assert steps <= {3, 4, 5} and min(places) >= 0, "every fourth of the teacher's finer frames"


def test_states_are_kept_where_that_pays() -> None:
    view = Encoder(tiny("hubert"))
    seconds = sum(utterance.seconds for utterance in DATA)
    often, seldom = (Training(steps=round(epochs * seconds / 4)) for epochs in (3, 1))
    plan = Distillation(student=Student(1), batch_seconds=4)
    assert pays(plan, view, DATA, 3, often) and not pays(plan, view, DATA, 3, seldom)
    assert not pays(plan, view, DATA, 10**6, often), "too many bytes"
    assert not pays(Distillation("arm", student=Student(1), batch_seconds=4), view, DATA, 3, often)
    assert not pays(Distillation(student=Student(1), batch_seconds=4, cache=False), view, DATA, 3, often)
    assert pays(Distillation(student=Student(1), batch_seconds=4, cache=True), view, DATA, 3, seldom)


def test_nearest_frames_are_the_nearest() -> None:
    one, other = Encoder(edited("hubert", "use_log_mel")), Encoder(tiny("hubert"))
    times, others = one.centers(20), other.centers(200)
    found = other.nearest(times)
    assert found.tolist() == [int(np.abs(others - moment).argmin()) for moment in times]


RESUMED: dict[str, Any] = {
    **SHORT,
    "train": {"steps": 16, "lr": 1e-3, "validate_every": 5, "save_seconds": 0.01},
    "dropout": 0.1,
    "match": {"span": 2},
}
KILLED = """
import sys
from test_distill import DATA, RESUMED, distill, sv, tiny, with_clusters
from sottovoce.files import working_in
options = {**RESUMED, "loss": "cluster_kl", "cache": True, "student": {"layers": 2, "log_mel": True}}
options["train"] = {**RESUMED["train"], "steps": 60, "optimizer": "muon"}
with working_in(sys.argv[1]):
    sv.save(distill(with_clusters(tiny("hubert-large", seed=1)), DATA, **options), sys.argv[2])
"""


def test_killed_and_resumed_it_ends_with_the_same_bits(zygote: Zygote, tmp_path: Path) -> None:
    def start(name: str) -> Child:
        return zygote.start([str(tmp_path / name), str(tmp_path / f"{name}-model")], cwd=tmp_path, python=KILLED)

    undisturbed, process = start("a"), start("b")
    log = tmp_path / "b" / "distill" / "log.jsonl"
    while process.poll() is None and not (log.exists() and '"step": 5' in log.read_text()):
        time.sleep(0.01)
    process.kill(signal.SIGKILL)
    codes = [process.wait(), start("b").wait(), undisturbed.wait()]
    assert codes == [-signal.SIGKILL, 0, 0], "killed in the middle, then finished; and never disturbed"
    for file in ("model.safetensors", "units.safetensors"):
        assert (tmp_path / "a-model" / file).read_bytes() == (tmp_path / "b-model" / file).read_bytes()


def test_interrupted_and_resumed_it_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, model, calls = Distiller.loss, tiny("wavlm", seed=1), []

    def stops(self: Distiller, *args: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return whole(self, *args)

    with working_in(tmp_path / "a"):
        undisturbed = distill(model, DATA, loss="arm", student={"layers": 2}, **RESUMED)
    with working_in(tmp_path / "b"):
        monkeypatch.setattr(Distiller, "loss", stops)
        with pytest.raises(KeyboardInterrupt):
            distill(model, DATA, loss="arm", student={"layers": 2}, **RESUMED)
        resumed = distill(model, DATA, loss="arm", student={"layers": 2}, **RESUMED)
    assert len(calls) < 45, "it went on, and did not begin anew"
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_distillation_of_another_plan_is_not_taken_up(tmp_path: Path) -> None:
    model = tiny("hubert")
    with working_in(tmp_path):
        first = distill(model, DATA[:9], student={"layers": 2}, **SHORT)
        again = distill(model, DATA[:9], student={"layers": 2}, **SHORT)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
        with pytest.raises(SottovoceError, match="other settings"):
            distill(model, DATA[:9], student={"layers": 2}, match={"layers": [4]}, **SHORT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"student": {"layers": 0}},
        {"student": {"layers": 5}},
        {"student": {"layers": 2}, "match": {"layers": [5]}},
        {"student": {"layers": 2}, "match": {"layers": [-1]}},
        {"student": {"layers": 2}, "match": {"layers": []}},
        {"student": {"layers": 2}, "loss": "cluster_kl", "match": {"layers": [4]}},
        {"student": {"layers": 2}, "loss": "mse"},
        {"student": {"layers": 2, "start": "teacher"}},
        {"student": {"layers": 2}, "match": {"temperature": 0.0}},
        {"student": {"layers": 2}, "match": {"share": 0.0}},
        {"student": {"layers": 2}, "match": {"span": 0}},
        {"student": {"layers": 2}, "batch_seconds": -1.0},
        {"student": {"layers": 2}, "dropout": 1.0},
        {"student": {"layers": 2}, "loss": "arm", "cache": True},
    ],
)
def test_nonsense_is_refused_before_any_work(wrong: dict[str, Any]) -> None:
    *_, (name, value) = wrong.items()
    with pytest.raises(SottovoceError, match=rf"\b{list(value)[-1] if isinstance(value, dict) else name}\b"):
        distill(tiny("hubert"), DATA, **wrong)


def test_what_cannot_teach_or_learn_says_so(tmp_path: Path) -> None:
    model = tiny("hubert")
    for name in ("whisper", "wav2vec2-bert"):
        with pytest.raises(SottovoceError, match=f"{name} takes features of its own"):
            distill(tiny(name), DATA, student={"layers": 2})
        with pytest.raises(SottovoceError, match=f"{name} takes features of its own"):
            find_teacher(tiny(name), None)
    with pytest.raises(SottovoceError, match="log-mel features have nothing"):
        distill(LogMel(), DATA, student={"layers": 1})
    for nothing in (None, [utterance for utterance in DATA if utterance.split == "test"]):
        with pytest.raises(SottovoceError, match="distill needs data"):
            distill(model, nothing, student={"layers": 2})
    with pytest.raises(SottovoceError, match="its own teacher"):
        distill(model, DATA)
    with pytest.raises(SottovoceError, match="mimic layers"):
        distill(edited("hubert", "mimic_linear"), DATA, student={"layers": 1})
    with pytest.raises(SottovoceError, match="head over clusters beside its weights"):
        distill(model, DATA, student={"layers": 2}, loss="cluster_kl")
    with pytest.raises(SottovoceError, match="reads 32 numbers, but the model has 24"):
        narrow = with_clusters(tiny("hubert"))
        sv.keep_hidden(narrow, range(24))
        distill(narrow, DATA, student={"layers": 2}, loss="cluster_kl")
    broken = with_clusters(tiny("hubert"))
    broken.processor_files["units.safetensors"] = b"nonsense"
    with pytest.raises(SottovoceError, match="damaged"):
        distill(broken, DATA, student={"layers": 2}, loss="cluster_kl")
    with pytest.raises(SottovoceError, match="without layers"):
        distill(edited("hubert", "nothing", num_hidden_layers=0), DATA, student={"start": "random"})
