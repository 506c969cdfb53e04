"""Trains an ONNX model on arrays, in a folder from which the run can go on."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import resources
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from ...errors import NonFiniteError, SettingError
from ...execution.devices import device, found, make_cpu_devices, unused_gpu
from ...execution.numpy_program import NumpyProgram
from ...execution.program import make_program
from ...execution.program_like import ProgramLike
from ...execution.run import BACKENDS
from ...passes.float_weights import float_weights
from ...passes.loss import LOSSES
from ...passes.mode import with_momentum
from ...passes.precision import COMPUTE, precision_summary
from ...passes.roles import check_trains, summary
from ...tools.reading import batches_of, file_for, read_for_data
from ...tools.task import fit_task
from ...training import optim
from ...training.callbacks import STOP, every_steps
from ...training.checkpoint import environment
from ...training.class_names import class_names, classes_in_words, with_class_names
from ...training.data import batch_order
from ...training.fit import fit, fitting
from ...training.loop import ON_NONFINITE, TrainState, start
from ...training.loss_scaling import needs_loss_scaling
from ...training.optimizers import USUAL, rules
from ...training.parallel import Placement, data_parallel, sharded
from ...training.processes import from_first, is_first, join, largest, launched, several
from .. import run_folder
from ..arguments import class_weights, count, number
from ..compile_cache import compile_cache
from ..data import load
from ..model_arguments import add_model_arguments, read_model
from ..optimizers import add_settings
from ..optimizers import optimizer as made_optimizer
from ..schedules import SCHEDULES, schedule_named
from ..settings import DEFAULTS, fingerprint, resolved
from ..signals import Caught

HELP = "train an ONNX model; with nothing else, a LeNet on handwritten digits"
EXAMPLES = (
    "train --model m.onnx --data d.npz --epochs 20 --lr 1e-3 --out run",
    "train --model m.onnx --data table.csv --optimizer adamw --schedule cosine --warmup 100",
    "train --resume run --epochs 40",
)
PIECE = 64  # updates after which a signal is looked for inside a long epoch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def add(name: str, help: str = "", **more: Any) -> None:
        usual = DEFAULTS.get(name.removeprefix("--").replace("-", "_"))
        shown = "" if usual in (None, []) or isinstance(usual, bool) else f" (default: {usual})"
        group.add_argument(name, help=help + shown, **more)

    group = parser.add_argument_group("model and data")
    add("--model", "the model to train (default: a small LeNet)", metavar="M.onnx")
    add(
        "--data",
        ".npz, .npy, .csv or a folder of images: the model's inputs by name, or x, and target or y; test_..., ..._test "
        "or a folder test for a test set, else a fifth of every class is held out; default: 1797 UCI digits",
        metavar="DATA",
    )
    add("--layout", "of the images in the data", choices=("NCHW", "NHWC"))
    add_model_arguments(group)
    add("--float-weights", "train integers behind DequantizeLinear, and write integers", action="store_true")
    group = parser.add_argument_group("loss")
    add("--loss", "default: the one that fits the model's output and the targets", choices=sorted(LOSSES))
    add("--output", "which outputs losses compare, where there are several", nargs="+", metavar="NAME")
    add("--label-smoothing", "of cross_entropy: the share that all classes get", type=number(0))
    add("--ignore-index", "of cross_entropy: the label that counts for nothing", type=int)
    add("--class-weights", "of cross_entropy: balanced, or a number for each class", nargs="+", metavar="W")
    group = parser.add_argument_group("optimizer")
    add("--optimizer", choices=sorted(rules()))
    add("--lr", "(highest) learning rate", type=number(0))
    add_settings(group)
    add("--schedule", choices=sorted(SCHEDULES))
    add("--warmup", "steps of linear warm-up", type=count(0))
    add("--clip-norm", "the largest norm of all gradients together", type=number(0))
    add("--clip-value", "the largest absolute value of a gradient", type=number(0))
    add("--on-nonfinite", "where loss, gradients or weights are not finite", choices=ON_NONFINITE)
    group = parser.add_argument_group("epochs and batches")
    add("--epochs", "in all, those of a resumed run included", type=count(1))
    add("--batch-size", type=count(1))
    add("--accumulate", "micro-batches per update", type=count(1))
    add("--last", "what happens to a short last batch", choices=("drop", "pad"))
    add("--seed", "of the order of rows, and of what is drawn: Dropout, noise", type=count(0))
    add("--momentum-of-statistics", "of batch normalizations (default: the file's)", type=float)
    group = parser.add_argument_group("where and how it computes")
    add("--device", "auto, cpu, gpu, cuda or tpu")
    add(
        "--devices",
        "over how many devices, of all processes, batches are split; on a CPU as many are made (default: one; with "
        "--sharded all)",
        type=count(1),
        metavar="N",
    )
    add("--sharded", "split parameters and optimizer state over the devices too", action="store_true")
    add("--backend", choices=BACKENDS)
    add("--precision", "in which steps compute; parameters stay float32", choices=COMPUTE)
    add("--cache", "folder for compiled programs, or off (default: $XDG_CACHE_HOME/aidgejax)", metavar="DIR")
    group = parser.add_argument_group("run folder")
    add("--out", "run folder, empty or new (default: runs/<date>-<time>)", metavar="FOLDER")
    add("--force", "take a folder that holds a run, and remove that", action="store_true")
    add("--resume", "go on with the run in this folder, to its number of epochs or --epochs", metavar="RUN")
    add("--config", "repeat the settings of a run: its folder, or settings.json", metavar="FILE")
    add("--rescue", "where to write the run if its folder fails at the end", metavar="FOLDER")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when done, 1 where numbers were not finite or nothing could be saved, 130 or 143 after a signal."""
    args = resolved(args)
    joined = join()
    if args.devices:
        make_cpu_devices(args.devices // launched()[1])
    place = device(args.device)
    placement = _placement(args) if joined or args.devices or args.sharded else None
    if args.device == "auto" and (why := unused_gpu()):
        print(f"note: {why}", file=sys.stderr)
    with Caught() as caught, compile_cache(args.cache), jax.default_device(place):
        return _Run(args, caught, found(place), placement).train()


def _placement(args: argparse.Namespace) -> Placement:
    if args.backend == "numpy":
        raise SettingError("--backend numpy runs without JAX, on one device: leave --devices and --sharded out")
    there: list[Any] = jax.devices() if args.device == "auto" else jax.devices(args.device)
    wanted = args.devices or len(there)
    if wanted > len(there):
        raise SettingError(
            f"--devices {wanted}: JAX has {len(there)} here ({there[0].platform}); on a CPU they are made where JAX "
            f"has not been used before in this process"
        )
    return sharded(mesh=there[:wanted]) if args.sharded else data_parallel(there[:wanted])


class _Run:
    """One call of `train`."""

    def __init__(self, args: argparse.Namespace, caught: Caught, place: str, placement: Placement | None) -> None:
        self.args, self.caught, self.place, self.placement = args, caught, place, placement
        self.model, notes = read_model(args.model or _default_model(), args)
        if args.model and not args.data:
            raise SettingError("--model needs --data: the digits are for the model that comes along")
        self.model, training, test = load(args.data, self.model, args.layout, in_file=several())
        plain, self.into = self.model, None
        if args.model:
            read = partial(read_model, args.model, args)
            self.model, more = read_for_data(read, plain, training, args.batch_size)
            self.model, notes = with_class_names(self.model, training.class_names), (*notes, *more)
            self.into = file_for(plain, self.model)
        args.batch_size, gathered, more = batches_of(self.model, args.batch_size)
        args.accumulate, notes = args.accumulate * gathered, (*notes, *more)
        if args.momentum_of_statistics is not None:
            self.model = with_momentum(self.model, args.momentum_of_statistics)
            self.into = self.into and with_momentum(self.into, args.momentum_of_statistics)
        if args.float_weights:
            self.model, self.into = float_weights(self.model), None
        check_trains(self.model)
        options = {k: v for k in ("label_smoothing", "ignore_index") if (v := getattr(args, k)) is not None}
        if args.class_weights:
            options["weights"] = class_weights(args.class_weights)
        self.task = fit_task(self.model, training.columns, args.loss, output=args.output or None, **options)
        self.graph = graph = self.task.graph
        self.data, self.test = (
            fitting(graph, rows.with_columns(self.task.adapt(rows.columns))) for rows in (training, test)
        )
        if args.batch_size > len(self.data):
            notes = (*notes, f"batch size: {len(self.data)}, all rows")
            args.batch_size = len(self.data)
        if placement is not None:
            placement.check_batch(args.batch_size)
            notes = (*notes, f"placement: {placement}", *filter(None, [placement.uneven(graph.params)]))
        self.notes = (
            *notes,
            *training.notes,
            *(f"test data: {note}" for note in test.notes if note not in training.notes),
            *classes_in_words(class_names(self.model)),
            *summary(graph),
            f"loss: {self.task.summary}",
            *precision_summary(args.precision, graph),
        )
        self.unit = "images" if any(v.rank == 4 for v in self.model.inputs.values()) else "rows"
        rows, _ = batch_order(len(self.data), args.batch_size, last=args.last)
        self.per_epoch = len(rows)
        steps = args.epochs * max(1, len(self.data) // args.batch_size // args.accumulate)
        self.rate = schedule_named(args.schedule, args.lr, steps, args.warmup)
        self.optimizer = made_optimizer(args.optimizer, args, **USUAL.get(args.optimizer, {}))
        if args.clip_value:
            self.optimizer = optim.clipped_by_value(self.optimizer, args.clip_value)
        if args.clip_norm:
            self.optimizer = optim.clipped(self.optimizer, args.clip_norm)
        self.program: ProgramLike = make_program(graph, training=True)
        self.evaluated: ProgramLike = make_program(graph, training=False)
        if args.backend == "numpy":
            self.program, self.evaluated = NumpyProgram(self.program), NumpyProgram(self.evaluated)
        self.speeds: list[float] = []

    def train(self) -> int:
        args = self.args
        settings = {k: getattr(args, k) for k in DEFAULTS} | {
            k: os.path.abspath(v) for k in ("model", "data") if (v := getattr(args, k))
        }
        settings |= {
            "loss": self.task.asked,
            "data_sha256": from_first(lambda: fingerprint(self.data.columns)),
            "model_sha256": fingerprint({p.name: p.data for p in self.model.producers.values()}),
            "environment": environment(),
        }
        if self._is_repeated(settings):
            args.resume = args.out
        out = self._folder(settings)
        names = ["loss", *self.task.metrics]
        columns = ["step", "epoch", *names, "learning_rate", "gradient_norm", *(f"test_{n}" for n in names)]
        scaling = args.precision == "float16" or needs_loss_scaling(self.program.graph)
        if scaling:
            columns.append("loss_scale")
        folder = run_folder.RunFolder(out, self.model, settings, columns, f"test_{names[-1]}", into=self.into)
        accumulator = tuple(self.task.metrics) if args.accumulate > 1 else None
        key = jax.random.key(args.seed)
        state = start(
            self.program, self.optimizer, key, accumulate=accumulator, loss_scaling=scaling, placement=self.placement
        )
        if args.resume:
            state = folder.resume(state)
        done = int(state.batches) // self.per_epoch
        print(*self.notes, sep="\n")
        print(
            f"{self.graph.name}: {sum(a.size for a in self.graph.params.values()):,} parameters, {len(self.data)} rows "
            f"to train on, {len(self.test)} to test; {args.optimizer}, {args.epochs} "
            f"epoch{'s' if args.epochs > 1 else ''} on {self.place} ({args.backend} backend)",
            flush=True,
        )
        if done >= args.epochs:
            print(f"run folder: {out}\nfinished already, after {done} epochs; --epochs N sets a new total")
            return 0
        folder.save(state, now=True)
        if largest(bool(folder.failed)) and not args.rescue:
            print(
                "nothing was trained: free some space, or name --rescue FOLDER and train all the same", file=sys.stderr
            )
            return 1
        if code := largest(self.caught.code or 0):  # before minutes of compiling
            print(f"stopped after {int(state.step)} updates; go on with: aidgejax train --resume {out}")
            return code
        if args.resume:
            print(f"going on after {int(state.step)} updates, in epoch {done}", flush=True)
        code = self._fit(folder, state, done)
        folder.picture()
        print(f"run folder: {out}")
        if code:
            return code
        steady = float(np.median(self.speeds[1:] or self.speeds))  # the first epoch holds the compilation
        print(f"test {self._show(self.record)}  {steady:.0f} {self.unit}/s")
        return 1 if folder.failed else 0

    def _show(self, record: dict[str, Any]) -> str:
        score = self.task.score
        return f"{score} {record[f'test_{score}']:.{'3f' if score != 'loss' else '4g'}}"

    def _is_repeated(self, settings: dict[str, Any]) -> bool:
        """Does --out hold this very run, finished? Then nothing is to be done, and nothing in it is touched."""
        args = self.args
        if args.resume or args.force or not args.out or not os.path.exists(os.path.join(args.out, run_folder.SETTINGS)):
            return False
        updates = args.epochs * -(-self.per_epoch // args.accumulate)
        return run_folder.read_settings(args.out) == settings and run_folder.updates_made(args.out) == updates

    def _folder(self, settings: dict[str, Any]) -> str:
        if not self.args.resume:
            if not is_first():
                return str(self.args.out)
            return run_folder.claim(self.args.out, self.args.force)
        before = run_folder.read_settings(self.args.resume)
        if before.get("data_sha256") not in (None, settings["data_sha256"]):
            raise SettingError(
                f"the data of run {self.args.resume!r} has changed: {self.args.data or 'the digits'} does not hold the "
                f"numbers that it was begun with"
            )
        return self.args.resume

    def _fit(self, folder: run_folder.RunFolder, state: TrainState, done: int) -> int:
        """The training itself, saving as it goes; its exit code."""
        args, caught = self.args, self.caught
        written = 0

        def interrupted(record: dict[str, Any], state: TrainState) -> Any:
            code = largest(caught.code or 0)  # a signal to one of several processes stops all
            if code:  # not written otherwise: a signal may have come while the processes agreed
                caught.code = code
            return STOP if code else None

        bar = tqdm(total=args.epochs, initial=done, unit="epoch", desc="compiling", disable=None, file=sys.stderr)

        def on_epoch(record: dict[str, Any], state: TrainState) -> Any:
            self.record = record
            self.speeds.append(record["rows"] / record["seconds"])
            bar.set_description("training")
            bar.set_postfix_str(f"loss {record['loss']:.4f}, test {self._show(record)}")
            bar.update()
            folder.epoch(record, state)
            folder.save(state)
            return interrupted(record, state)

        def keep(records: list[dict[str, Any]]) -> None:
            nonlocal written
            folder.add(records[written:])
            written = len(records)

        code = 0
        try:
            with bar:
                state, history = fit(
                    self.program,
                    self.optimizer,
                    self.rate,
                    self.data,
                    epochs=args.epochs - done,
                    batch_size=args.batch_size,
                    accumulate=args.accumulate,
                    last=args.last,
                    seed=args.seed,
                    loss="loss",
                    metrics=self.task.metrics,
                    test=self.test,
                    test_program=self.evaluated,
                    callbacks=[every_steps(_piece(self.per_epoch, args.accumulate), interrupted), on_epoch],
                    state=state,
                    compiled=args.backend == "jax",
                    on_nonfinite=args.on_nonfinite,
                    precision=args.precision,
                    placement=self.placement,
                    on_records=keep,
                )
                keep(history)
        except NonFiniteError as e:
            keep(e.history)
            state = e.state if isinstance(e.state, TrainState) else state
            print(f"aidgejax train: {e} (more: aidgejax explain {e.topic})", file=sys.stderr)
            code = 1
        folder.save(state, now=True)
        folder.report(state, self.task.prediction, self.test)
        if largest(bool(folder.failed)) and args.rescue:
            folder.rescue(args.rescue, state)
        if not code and caught.code and int(state.batches) < args.epochs * self.per_epoch:
            code = caught.code
            print(f"stopped after {int(state.step)} updates; go on with: aidgejax train --resume {folder.path}")
        return code or (1 if folder.failed else 0)


def _piece(per_epoch: int, accumulate: int) -> int:
    """After how many updates of a long epoch to look up; a divisor of its length where there is one."""
    updates = -(-per_epoch // accumulate)
    if updates <= PIECE:
        return updates
    return next((n for n in range(PIECE, PIECE // 4, -1) if updates % n == 0), PIECE)


def _default_model() -> bytes:
    return resources.files("aidgejax").joinpath("assets/lenet.onnx").read_bytes()
