"""Which precision and execution works for which model on this machine's processor, written as a page of the docs.

    uv run --extra onnx --extra openvino scripts/support.py [--output docs/executions.md]

Every combination is really run, on small inputs, in a process of its own, and passes the same gate as any point. A cell
is the error against eager float32, or the number of the reason why there is none.
"""

import argparse
from datetime import date
from functools import partial
from pathlib import Path

from rich.progress import track

from segbench.base.errors import ProcessDiedError
from segbench.config.compose import CONF_DIR
from segbench.point.entry import try_out
from segbench.point.environment import describe
from segbench.point.isolation import in_fresh_process

TIMING = ["timing=fixed_20_100", "timing.warmup_calls=1", "timing.timed_calls=6"]
MODELS = {
    "DWBlock": ["block=dw", "channels=24", "resolution=16"],
    "STMBlock": ["block=stm", "channels=24", "resolution=16"],
    "FastSTMBlock": ["block=faststm", "channels=24", "resolution=16"],
    "InvertedBottleneck": ["block=inverted_bottleneck", "channels=24", "resolution=16"],
    "JeongWonNet (DW)": ["model=jeongwonnet", "block=dw", "resolution=64"],
    "CMUNeXt-S": ["model=cmunext_s", "resolution=64"],
    "resnet18": ["model=encoder", "model.encoder=resnet18", "resolution=64"],
    "mobileone_s0": ["model=encoder", "model.encoder=mobileone_s0", "resolution=64"],
    "resnet18 + FPN": ["model=segmenter", "model.encoder=resnet18", "decoder=fpn", "resolution=64"],
    "resnet18 + UNet": ["model=segmenter", "model.encoder=resnet18", "decoder=unet", "resolution=64"],
    "STU-Net S": ["model=stunet_s", "input.shape=[1,32,32,64]"],
    "TotalSegmentator": ["model=totalsegmentator", "input.shape=[1,32,32,64]"],
}
TRAINING = ["phase=train_step", "batch_size=2"]


def choices(group: str) -> list[str]:
    """The choices of a group, as its folder lists them."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


WAYS = {
    **{f"`precision={name}`": [f"precision={name}"] for name in choices("precision") if name != "fp32"},
    **{f"`execution={name}`": [f"execution={name}"] for name in choices("execution") if name != "eager"},
    "`precision=bf16 execution=compile`": ["precision=bf16", "execution=compile"],
    "`mode=autocast_compile`": ["mode=autocast_compile", "baseline=null"],
    "`memory_format=channels_last`": ["memory_format=channels_last"],
    "training step, compiled": [*TRAINING, "execution=compile"],
    "training step, autocast to bfloat16": [*TRAINING, "precision=autocast_bf16"],
}
"""Every precision and execution by itself, and combinations that are in use."""


def outcome(overrides: list[str]) -> tuple[float | None, str]:
    """The error of a combination, or why it does not work."""
    try:
        attempt = in_fresh_process(partial(try_out, [*overrides, *TIMING], process=0))
    except ProcessDiedError as error:
        return None, str(error)
    if attempt.status == "ok":
        return attempt.result.metrics["error/vs_reference"], ""
    return None, f"{attempt.status}: {attempt.reason}"


def main() -> None:
    """Try everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/executions.md"))
    arguments = parser.parse_args()
    reasons: dict[str, int] = {}
    combinations = [(model, way) for model in MODELS for way in WAYS]
    cells: dict[tuple[str, str], str] = {}
    for model, way in track(combinations, "combinations"):
        error, reason = outcome(MODELS[model] + WAYS[way])
        number = 0 if error is not None else reasons.setdefault(reason, len(reasons) + 1)
        cells[model, way] = f"{error:.1e}" if error is not None else f"({number})"
    machine = describe()
    lines = [
        "# What works with what on the processor",
        "",
        "Written by `uv run --extra onnx --extra openvino scripts/support.py` on",
        f"{machine['cpu']}, PyTorch {machine['packages']['torch']}, {date.today()}. Every cell was run on a",
        "small input, everything else as by default. A figure is the error against eager float32, relative to its",
        "largest value (of a training step: of its forward pass); a number in brackets is the reason below.",
        "",
        "| | " + " | ".join(MODELS) + " |",
        "|---" * (len(MODELS) + 1) + "|",
        *(f"| {way} | " + " | ".join(cells[model, way] for model in MODELS) + " |" for way in WAYS),
        "",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
        "",
    ]
    arguments.output.write_text("\n".join(lines), encoding="utf-8")
    print(f"{len(combinations)} combinations in {arguments.output}, {len(reasons)} reasons")


if __name__ == "__main__":
    main()
