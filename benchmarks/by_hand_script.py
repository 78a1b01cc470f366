"""The digits study by hand: Optuna, torch-pruning and ONNX Runtime glued as people do it today.

python by_hand_script.py DATABASE SAMPLER SEED SECONDS; run it twice at a time for two workers.
Same space, same training and fine-tuning, same limit as studies/digits.yaml.
"""

import copy
import io
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import optuna
import torch
import torch.nn.functional as F
import torch_pruning as tp
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
EPOCHS, LIMIT_MS = 90, 0.1
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "hardswish": nn.Hardswish}

pictures, labels = load_digits(return_X_y=True)
pictures = pictures.reshape(-1, 1, 8, 8).astype(np.float32)
rest_x, _, rest_y, _ = train_test_split(
    pictures, labels, test_size=0.2, stratify=labels, random_state=0
)
train_x, val_x, train_y, val_y = train_test_split(
    rest_x, rest_y, test_size=0.25, stratify=rest_y, random_state=0
)
mean, std = train_x.mean(), train_x.std()
X, Y = torch.tensor((train_x - mean) / std), torch.tensor(train_y)
VX, VY = (val_x - mean) / std, val_y


def build(p):
    layers, channels, side = [], 1, 8
    for stage in range(1, p["depth"] + 1):
        width, kernel = p[f"width{stage}"], p[f"kernel{stage}"]
        layers += [
            nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            ACTIVATIONS[p["activation"]](),
        ]
        if p["pool"] and side > 1:
            padding = (p["pool"] - 1) // 2
            if p["pool_kind"] == "max":
                layers.append(nn.MaxPool2d(p["pool"], 2, padding))
            else:
                layers.append(nn.AvgPool2d(p["pool"], 2, padding, count_include_pad=False))
            side = (side + 2 * padding - p["pool"]) // 2 + 1
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def augment(x, y, p):
    n = len(x)
    if p["rotate"] or p["shift"]:
        angle = (2 * torch.rand(n) - 1) * math.radians(p["rotate"])
        m = torch.zeros(n, 2, 3)
        m[:, 0, 0], m[:, 0, 1] = angle.cos(), -angle.sin()
        m[:, 1, 0], m[:, 1, 1] = angle.sin(), angle.cos()
        m[:, :, 2] = (2 * torch.rand(n, 2) - 1) * 2 * p["shift"]
        x = F.grid_sample(
            x,
            F.affine_grid(m, x.shape, align_corners=False),
            padding_mode="border",
            align_corners=False,
        )
    if p["noise"]:
        x = x + p["noise"] * torch.randn_like(x)
    if p["mixup"]:
        share = float(np.random.beta(p["mixup"], p["mixup"]))
        order = torch.randperm(n)
        return share * x + (1 - share) * x[order], ((y, share), (y[order], 1 - share))
    return x, ((y, 1.0),)


def train(net, p, epochs, lr):
    net.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=1e-4)
    steps = epochs * math.ceil(len(X) / 64)
    warm = max(1, round(0.1 * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (
            (s + 1) / warm
            if s < warm
            else 0.5 * (1 + math.cos(math.pi * (s - warm) / max(1, steps - warm)))
        ),
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(64):
            x, targets = augment(X[rows], Y[rows], p)
            out = net(x)
            loss = sum(w * F.cross_entropy(out, t) for t, w in targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()


def prune(net, ratio):
    convs = [m for m in net if isinstance(m, nn.Conv2d)]
    shares = {}
    for m in convs:
        c = m.out_channels
        kept = min(c, max(1, math.floor(c * (1 - ratio) / 4 + 0.5) * 4))
        if kept < c:
            shares[m] = 1 - (kept + 0.5) / c
    if shares:
        tp.pruner.BasePruner(
            net,
            X[:2],
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=0.0,
            pruning_ratio_dict=shares,
            ignored_layers=[net[-1]],
        ).step()


class Reader(CalibrationDataReader):
    def __init__(self, x):
        self.batches = iter([{"x": x}])

    def get_next(self):
        return next(self.batches, None)


def session(net, scheme):
    buffer = io.BytesIO()
    torch.onnx.export(
        net,
        (X[:2],),
        buffer,
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
    )
    model = buffer.getvalue()
    if scheme == "int8":
        with tempfile.TemporaryDirectory() as folder:
            raw, pre, out = (Path(folder) / n for n in ("raw.onnx", "pre.onnx", "int8.onnx"))
            raw.write_bytes(model)
            quant_pre_process(str(raw), str(pre))
            quantize_static(
                str(pre),
                str(out),
                Reader(X[:64].numpy()),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            model = out.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def latency_ms(run):
    x = VX[:1]
    for _ in range(10):
        run.run(None, {"x": x})
    samples = []
    for _ in range(300):
        start = time.perf_counter()
        run.run(None, {"x": x})
        samples.append(time.perf_counter() - start)
    return 1e3 * float(np.median(samples))


def objective(trial):
    p = {"depth": trial.suggest_int("depth", 1, 3)}
    for stage in (1, 2, 3):
        p[f"width{stage}"] = trial.suggest_int(f"width{stage}", 8, 64, step=8)
        p[f"kernel{stage}"] = trial.suggest_categorical(f"kernel{stage}", [3, 5])
    p["pool"] = trial.suggest_categorical("pool", [0, 2, 3])
    p["pool_kind"] = trial.suggest_categorical("pool_kind", ["max", "avg"])
    p["activation"] = trial.suggest_categorical("activation", list(ACTIVATIONS))
    p["lr"] = trial.suggest_float("lr", 1e-3, 3e-2, log=True)
    for name, high in (("rotate", 10), ("shift", 0.1), ("noise", 0.1), ("mixup", 0.2)):
        p[name] = trial.suggest_categorical(name, [0, high])
    p["ratio"] = trial.suggest_categorical("ratio", [0.0, 0.25, 0.5, 0.75])
    p["scheme"] = trial.suggest_categorical("scheme", ["none", "int8"])
    torch.manual_seed(0)
    net = build(p)
    train(net, p, EPOCHS, p["lr"])
    net = copy.deepcopy(net)
    if p["ratio"]:
        prune(net, p["ratio"])
        train(net, p, 1, 0.3 * p["lr"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(net).to("meta")(torch.empty(1, 1, 8, 8, device="meta"))
    run = session(net, p["scheme"])
    found = np.concatenate(
        [run.run(None, {"x": VX[i : i + 512]})[0] for i in range(0, len(VX), 512)]
    )
    accuracy = float((found.argmax(1) == VY).mean())
    milliseconds = latency_ms(run)
    trial.set_constraint("latency", milliseconds - LIMIT_MS)
    return accuracy, counter.get_total_flops(), milliseconds


if __name__ == "__main__":
    database, sampler, seed, seconds = (
        sys.argv[1],
        sys.argv[2],
        int(sys.argv[3]),
        float(sys.argv[4]),
    )
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=16),
    }
    study = optuna.create_study(
        storage=f"sqlite:///{database}",
        study_name="digits",
        directions=["maximize", "minimize", "minimize"],
        sampler=samplers[sampler](),
        load_if_exists=True,
    )
    study.optimize(objective, timeout=seconds)
