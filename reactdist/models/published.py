"""Weights under the published parameter names, into our model.

The published model stacks query, key and value projections and has 3-D convolutions of depth 1;
everything else is a matter of names. Source: react2024.md, section 4.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reactdist.errors import InputError
from reactdist.models.transvae import TransVAE
from reactdist.models.transvae_config import Task, TransVAEConfig

_DECODER = "reaction_decoder."
_SPEAKER = "speaker_behaviour_encoder."
_POSITIONS = _DECODER + "PE.pe"  # a buffer, the same numbers for everyone
_PICTURE_FEATURE = _SPEAKER + "video_encoder.fc.weight"  # (D, D)
_ONLINE_ONLY = _DECODER + "lstm."
_OFFLINE_UNUSED = ("fusion.weight", "fusion.bias")  # the online model's, in offline files too

# Published prefix -> ours.
_PREFIXES: dict[str, str] = {
    _SPEAKER + "video_encoder.Conv3D.": "speaker.video.",
    _SPEAKER + "video_encoder.Conv3D.conv1.": "speaker.video.stem.",
    _SPEAKER + "video_encoder.fc.": "speaker.video.fc.",
    _SPEAKER + "audio_feature_map.": "speaker.audio.",
    _SPEAKER + "fusion_layer.": "speaker.fusion.",
    "fusion.": "reaction_fusion.",
    _DECODER + "vae_model.mu_token": "posterior.mean_token",
    _DECODER + "vae_model.logvar_token": "posterior.logvar_token",
    _DECODER + "vae_model.linear.": "posterior.linear.",
    _DECODER + "vae_model.seqTransEncoder.layers.0.": "posterior.layer.",
    _DECODER + "listener_reaction_decoder_1.layers.0.": "decoder.layer1.",
    _DECODER + "listener_reaction_decoder_2.layers.0.": "decoder.layer2.",
    _DECODER + "listener_reaction_3dmm_map_layer.": "decoder.coefficient_head.",
    _DECODER + "listener_reaction_emotion_map_layer.0.": "decoder.emotion_hidden.",
    _DECODER + "listener_reaction_emotion_map_layer.1.": "decoder.emotion_head.",
    _DECODER + "linear_3d.": "past.from_coefficients.",
    _DECODER + "linear_reaction.": "past.from_reaction.",
    _DECODER + "listener_reaction_decoder_3d.layers.0.": "past.layer.",
    _DECODER + "lstm.": "past.lstm.",
}
# Inside a transformer layer, published -> ours.
_LAYER: dict[str, str] = {
    "self_attn.": "self_attention.",
    "multihead_attn.": "cross_attention.",
    "out_proj.": "out.",
    "linear1.": "feed_forward.linear1.",
    "linear2.": "feed_forward.linear2.",
}


def load_published(state_dict: Mapping[str, Tensor], cfg: TransVAEConfig) -> TransVAE:
    """A model of `cfg` with the weights of a published state dict.

    `reaction_decoder.PE.pe` and, offline, `fusion.*` are ignored: nothing reads them.

    Raises:
        InputError: a name missing or unexpected, or a weight of another shape; names the tensor
            and the expected shape.
    """
    if cfg.latent_dim != cfg.feature_dim:
        raise InputError(
            f"latent_dim {cfg.latent_dim} differs from feature_dim {cfg.feature_dim}",
            fix="published weights have both equal",
        )
    model = TransVAE(cfg)
    ignored = {_POSITIONS, *(_OFFLINE_UNUSED if cfg.task == "offline" else ())}
    given = {name: tensor for name, tensor in state_dict.items() if name not in ignored}
    expected = published_shapes(model)
    _check_names(given, expected, cfg)
    ours: dict[str, Tensor] = {}
    for name, shape in expected.items():
        if tuple(given[name].shape) != shape:
            raise InputError(
                f"weight {name} has shape {tuple(given[name].shape)}, expected {shape}",
                fix="give the settings the weights were trained with (feature_dim, task)",
            )
        ours.update(_to_ours(name, given[name]))
    model.load_state_dict(ours)
    return model


def read_published(path: str | Path, **settings: Any) -> TransVAE:
    """The model in an original `.pth` file, {epoch, state_dict, optimizer}.

    Task and feature size are read off the weights; `settings` are further fields of
    `TransVAEConfig` that weights do not tell (window_size, image_size, ...). Nothing is unpickled
    but tensors and plain values.

    Raises:
        InputError: no such file, not a file of that kind, or weights of another architecture.
    """
    path = Path(path)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        problem = error.strerror or str(error)
        raise InputError(f"cannot be read ({problem})", where=path, fix="check the path") from None
    except Exception as error:  # bytes that are no pickle fail as whatever they happen to spell
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"is no file of weights ({problem})", where=path, fix="give the published .pth"
        ) from None
    weights = document.get("state_dict") if isinstance(document, dict) else None
    if not isinstance(weights, dict) or _PICTURE_FEATURE not in weights:
        raise InputError(
            f"holds no state_dict with {_PICTURE_FEATURE}",
            where=path,
            fix="give a published TransVAE, {epoch, state_dict, optimizer}",
        )
    dim = weights[_PICTURE_FEATURE].shape[0]
    task: Task = "online" if any(name.startswith(_ONLINE_ONLY) for name in weights) else "offline"
    cfg = TransVAEConfig(task=task, feature_dim=dim, latent_dim=dim, **settings)
    return load_published(weights, cfg).eval()


def published_shapes(model: TransVAE) -> dict[str, tuple[int, ...]]:
    """Name and shape of every published parameter that `model` has a place for."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in model.state_dict().items():
        published = _to_published(name)
        shape = tuple(tensor.shape)
        if ".Conv3D." in published:
            shape = (*shape[:2], 1, *shape[2:])
        if published.endswith(("in_proj_weight", "in_proj_bias")):
            rows = shapes.get(published, (0,))[0] + shape[0]
            shape = (rows, *shape[1:])
        shapes[published] = shape
    return shapes


def _to_ours(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Our parameters (names and values) held by one published parameter."""
    if ".conv" in name:
        return {_renamed(name): tensor.squeeze(2)}
    stem, _, kind = name.rpartition("in_proj_")
    if not stem:
        return {_renamed(name): tensor}
    dim = tensor.shape[0] // 3
    return {
        f"{_renamed(stem)}query.{kind}": tensor[:dim],
        f"{_renamed(stem)}key_value.{kind}": tensor[dim:],
    }


def _renamed(name: str) -> str:
    prefix = max((p for p in _PREFIXES if name.startswith(p)), key=len)
    rest = name.removeprefix(prefix)
    if ".layers.0." in prefix:
        for published, ours in _LAYER.items():
            rest = rest.replace(published, ours)
    return _PREFIXES[prefix] + rest


def _to_published(name: str) -> str:
    published, ours = max(
        ((p, o) for p, o in _PREFIXES.items() if name.startswith(o)), key=lambda pair: len(pair[1])
    )
    rest = name.removeprefix(ours)
    if ".layers.0." in published:
        for theirs, own in _LAYER.items():
            rest = rest.replace(own, theirs)
        for part in ("query.", "key_value."):
            rest = rest.replace(part, "in_proj_")
    return published + rest


def _check_names(
    given: Mapping[str, Tensor], expected: Mapping[str, object], cfg: TransVAEConfig
) -> None:
    missing = sorted(expected.keys() - given.keys())
    unexpected = sorted(given.keys() - expected.keys())
    if unexpected:
        close = difflib.get_close_matches(unexpected[0], missing, n=1)
        raise InputError(
            f"{len(unexpected)} unexpected weight(s), first {unexpected[0]}",
            fix=f"did you mean {close[0]}?" if close else f"these are no {cfg.task} weights",
        )
    if missing:
        raise InputError(
            f"{len(missing)} weight(s) missing, first {missing[0]} of shape {expected[missing[0]]}",
            fix=f"give the whole state dict of a published {cfg.task} model",
        )
