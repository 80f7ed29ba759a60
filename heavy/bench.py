#!/usr/bin/env python3
"""Tokens that `collective-heavy train` takes in a second, against PyTorch on the same model: `bench.py BINARY [BINARY-WITH-CUDA]`.

On the processor both have one thread, and seconds are those of its time, so that a busy machine says the same; on a device they
are the clock's. They are taken between lines of progress: starting, reading and the look at the held-out text are not in them.
Needs nothing but Python on Linux; without PyTorch, or without a device, it says what it leaves out."""
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS, FIRST = 17, 3
SHAPE = {"layers": 4, "heads": 4, "width": 256, "context": 128, "batch": 16}
TOKENS = SHAPE["batch"] * SHAPE["context"]
RECIPE = {
    "recipe": "transformer", "seed": 1, "text": "lines", "splitBy": "document", "heldOutPercent": 1, "steps": STEPS, "learningRate": 0.001,
    "warmup": 0, "weightDecay": 0.1, "clip": 1.0, "evaluateEvery": STEPS, "checkpointEvery": STEPS, **SHAPE,
}


def processor_seconds(process):
    """Time that a process had of processors so far (proc(5), `stat`: user and system)."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def worker(binary, on_device):
    """Tokens in a second of the worker."""
    environment = {} if on_device else {"CUDA_VISIBLE_DEVICES": "", "RAYON_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as root:
        folders = {name: Path(root, name) for name in ("input", "output", "state")}
        for folder in folders.values():
            folder.mkdir()
        declaration = Path(root, "declaration")
        declaration.write_text('{"name":"t","archive":{"file":"t.json"},"columns":[{"name":"t","type":"json"}]}')
        drawn = random.Random(1)
        lines = ['{"t":"%s"}\n' % " ".join("%x" % drawn.getrandbits(24) for _ in range(40)) for _ in range(2000)]
        fed = b"".join(struct.pack("<I", len(line)) + line.encode() for line in lines) + b"\xff" * 4
        table = [binary, "table", "--declaration", declaration, "--columns", "t", "--purpose", "training", "--output", folders["input"]]
        subprocess.run(table, input=fed, check=True)
        folders["input"].joinpath("arguments").write_text(json.dumps(RECIPE))
        train = [binary, "train", *(word for name, folder in folders.items() for word in (f"--{name}", folder))]
        times = {}
        with subprocess.Popen(train, stdout=subprocess.PIPE, env={**os.environ, **environment}) as running:
            for line in running.stdout:
                times[json.loads(line)["step"]] = time.perf_counter() if on_device else processor_seconds(running.pid)
        if running.returncode:
            sys.exit(f"the worker ended with {running.returncode}")
        return (STEPS - 1 - FIRST) * TOKENS / (times[STEPS - 1] - times[FIRST])


def pytorch(torch, device):
    """Tokens in a second of PyTorch."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    width, layers, heads, context, batch = (SHAPE[it] for it in ("width", "layers", "heads", "context", "batch"))

    def matrix(*shape):
        return torch.nn.Parameter(torch.randn(*shape, device=device) * 0.02)

    def ones():
        return torch.nn.Parameter(torch.ones(width, device=device))

    tokens, places, last = matrix(257, width), matrix(context, width), ones()
    blocks = [
        [ones(), *(matrix(width, width) for _ in range(4)), ones(), matrix(width, 4 * width), matrix(4 * width, width)]
        for _ in range(layers)
    ]
    parameters = [tokens, places, last, *(part for block in blocks for part in block)]
    optimizer = torch.optim.AdamW(parameters, lr=0.001, betas=(0.9, 0.99), weight_decay=0.1)
    mask = torch.triu(torch.full((context, context), -1e9, device=device), 1)

    def norm(stream, scale):
        return stream / (stream.square().mean(-1, keepdim=True) + 1e-5).sqrt() * scale

    def by_head(all_heads):
        return all_heads.view(batch, context, heads, width // heads).transpose(1, 2)

    times = []
    for _ in range(STEPS):
        drawn = torch.randint(0, 256, (batch, context + 1), device=device)
        stream = tokens[drawn[:, :-1]] + places
        for outer, query, key, value, out, inner, up, down in blocks:
            normed = norm(stream, outer)
            weights = by_head(normed @ query) @ by_head(normed @ key).transpose(-1, -2) / math.sqrt(width // heads) + mask
            seen = (weights.softmax(-1) @ by_head(normed @ value)).transpose(1, 2).reshape(batch, context, width)
            stream = stream + seen @ out
            stream = stream + torch.relu(norm(stream, inner) @ up) @ down
        loss = torch.nn.functional.cross_entropy((norm(stream, last) @ tokens.T).view(-1, 257), drawn[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        loss.item()
        times.append(time.process_time() if device == "cpu" else time.perf_counter())
    return (STEPS - 1 - FIRST) * TOKENS / (times[STEPS - 2] - times[FIRST - 1])


def main():
    print(f"{SHAPE}, {STEPS - 1 - FIRST} steps of {TOKENS} tokens")
    print(f"worker: {worker(sys.argv[1], False):.0f} tokens for each second of one processor")
    if len(sys.argv) > 2:
        print(f"worker, CUDA: {worker(sys.argv[2], True):.0f} tokens/s")
    else:
        print("skipped: the worker on a device, as there is no nvcc to build it")
    try:
        import torch
    except ImportError:
        print("skipped: PyTorch, as this Python has none")
        return
    print(f"PyTorch {torch.__version__}: {pytorch(torch, 'cpu'):.0f} tokens for each second of one processor")
    if torch.cuda.is_available():
        print(f"PyTorch, {torch.cuda.get_device_name()}: {pytorch(torch, 'cuda'):.0f} tokens/s")


main()
