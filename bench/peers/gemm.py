"""Other engines' quantized linear layers on the CPU as peers of `clq bench gemm`.

  python gemm.py --clq build/release/clq [--m 1,8,64,512] [--n 4096] [--k 4096] [-o json]

Rounds take turns: a block of each peer's calls, then one `clq bench gemm` process over the same
shapes; the medians over the rounds count. All multiply f32 activations [m, k] by packed weights
[n, k] into f32, on as many threads, weights warm in the caches if they fit:

  onnxruntime  MatMulNBits, 4 bits, groups of 32 or 128, accuracy_level 4 (int8 activations)
  ggml         mul_mat with Q4_0 as its CPU backend repacks it, and with Q4_K, Q4_1, Q8_0
  torch        dynamic int8 linear, engines x86 and onednn; bf16 linear

Peers quantize the activations within their call. So does ours: what `clq bench quantize` takes for
[m, k] is added to every figure of int8 activations.

That a peer computes what it says is checked for every shape: against the exact product of the
weights as that peer holds them, the root of the mean squared error is at most 2 % of the answer's
(activations of 8 bits cost about 1 %). `clq bench` checks ours bit for bit.

Requirements: pip install numpy gguf onnx onnxruntime==1.31.* torch==2.9.0 (a CPU build does), and
llama-cpp-python built natively (see llama_cpp.py), whose ggml libraries are used; a peer that is
missing is left out, loudly.
"""
import argparse
import ctypes
import datetime
import glob
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import numpy as np

WORST_ERROR = 0.02
OURS = [("w4g32", "q8"), ("w4g128", "q8"), ("w8", "q8"), ("q4_0", "q8g32"), ("q4_1", "q8g32"),
        ("w4g128", "f32")]


def activations(m, k):
    return np.random.default_rng(1).standard_normal((m, k), dtype=np.float32)


def weights(n, k):
    return np.random.default_rng(2).standard_normal((n, k), dtype=np.float32) / np.float32(k**0.5)


# --- ONNX Runtime ---

class OnnxRuntime:
    def __init__(self, threads, group):
        import onnxruntime
        self.ort, self.threads, self.group = onnxruntime, threads, group
        self.name = f"onnxruntime {onnxruntime.__version__} W4 g{group}"

    def pack(self, w):
        """Codes 0 .. 15 around 8, two to a byte, low nibble first; scales by absmax / 7."""
        n, k = w.shape
        groups = w.reshape(n, k // self.group, self.group)
        scale = np.abs(groups).max(axis=2, keepdims=True) / 7
        codes = np.clip(np.rint(groups / scale) + 8, 0, 15).astype(np.uint8)
        self.exact = ((codes.astype(np.float32) - 8) * scale).reshape(n, k)
        packed = codes[..., 0::2] | codes[..., 1::2] << 4
        self.model = self.graph(n, k, packed, scale.reshape(n, -1))

    def graph(self, n, k, packed, scale):
        from onnx import TensorProto, helper, numpy_helper
        node = helper.make_node("MatMulNBits", ["x", "b", "scale"], ["y"], domain="com.microsoft",
                                K=k, N=n, bits=4, block_size=self.group, accuracy_level=4)
        graph = helper.make_graph(
            [node], "linear", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
            [numpy_helper.from_array(packed, "b"),
             numpy_helper.from_array(scale.reshape(-1).astype(np.float32), "scale")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17),
                                                        helper.make_opsetid("com.microsoft", 1)])
        model.ir_version = 10
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        return self.ort.InferenceSession(model.SerializeToString(), options,
                                         providers=["CPUExecutionProvider"])

    def call(self, x):
        binding = self.model.io_binding()
        value = self.ort.OrtValue.ortvalue_from_numpy(x)
        answer = self.ort.OrtValue.ortvalue_from_numpy(
            np.zeros((x.shape[0], self.exact.shape[0]), np.float32))
        binding.bind_ortvalue_input("x", value)
        binding.bind_ortvalue_output("y", answer)
        return lambda: self.model.run_with_iobinding(binding), answer.numpy


# --- PyTorch ---

class Torch:
    def __init__(self, threads, engine):
        import torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.torch, self.engine = torch, engine
        self.name = f"torch {torch.__version__.split('+')[0]} " + (
            "bf16" if engine == "bf16" else f"dynamic int8, {engine}")

    def pack(self, w):
        torch = self.torch
        if self.engine == "bf16":
            self.packed = torch.from_numpy(w).bfloat16()
            self.exact = self.packed.float().numpy()
            return
        torch.backends.quantized.engine = self.engine
        scale = torch.from_numpy(np.abs(w).max(axis=1) / 127).double()
        codes = torch.quantize_per_channel(torch.from_numpy(w), scale,
                                           torch.zeros(len(w), dtype=torch.int64), 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(codes, None)
        self.exact = codes.dequantize().numpy()

    def call(self, x):
        torch = self.torch
        answer = [None]
        if self.engine == "bf16":
            source = torch.from_numpy(x).bfloat16()

            def run():
                answer[0] = torch.nn.functional.linear(source, self.packed)
        else:
            source = torch.from_numpy(x)

            def run():
                torch.backends.quantized.engine = self.engine
                answer[0] = torch.ops.quantized.linear_dynamic(source, self.packed, False)
        return run, lambda: answer[0].float().numpy()


# --- ggml ---

class Ggml:
    """ggml's CPU backend through its C interface."""
    TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12}
    lib = None

    def __init__(self, threads, kind, folder):
        Ggml.lib = Ggml.lib or Ggml.load(folder)
        self.threads, self.kind, self.type = threads, kind, self.TYPES[kind]
        self.name = f"ggml {kind}" + (", repacked" if kind == "Q4_0" else "")

    @staticmethod
    def load(folder):
        libs = [ctypes.CDLL(os.path.join(folder, f"lib{n}.so"), mode=ctypes.RTLD_GLOBAL)
                for n in ("ggml-base", "ggml-cpu", "ggml")]
        pointer, size, int64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64

        class InitParams(ctypes.Structure):
            _fields_ = [("mem_size", size), ("mem_buffer", pointer), ("no_alloc", ctypes.c_bool)]

        prototypes = {
            "ggml_init": (pointer, [InitParams]), "ggml_free": (None, [pointer]),
            "ggml_new_tensor_2d": (pointer, [pointer, ctypes.c_int, int64, int64]),
            "ggml_mul_mat": (pointer, [pointer, pointer, pointer]),
            "ggml_new_graph": (pointer, [pointer]),
            "ggml_build_forward_expand": (None, [pointer, pointer]),
            "ggml_nbytes": (size, [pointer]),
            "ggml_quantize_chunk": (size, [ctypes.c_int, pointer, pointer, int64, int64, int64,
                                           pointer]),
            "ggml_backend_cpu_init": (pointer, []),
            "ggml_backend_cpu_set_n_threads": (None, [pointer, ctypes.c_int]),
            "ggml_backend_cpu_reg": (pointer, []),
            "ggml_backend_reg_dev_get": (pointer, [pointer, size]),
            "ggml_backend_reg_get_proc_address": (pointer, [pointer, ctypes.c_char_p]),
            "ggml_backend_buft_alloc_buffer": (pointer, [pointer, size]),
            "ggml_backend_buft_get_alloc_size": (size, [pointer, pointer]),
            "ggml_backend_cpu_buffer_type": (pointer, []),
            "ggml_backend_buffer_get_base": (pointer, [pointer]),
            "ggml_backend_tensor_alloc": (ctypes.c_int, [pointer, pointer, pointer]),
            "ggml_backend_tensor_set": (None, [pointer, pointer, size, size]),
            "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
            "ggml_backend_alloc_ctx_tensors": (pointer, [pointer, pointer]),
            "ggml_backend_graph_compute": (ctypes.c_int, [pointer, pointer]),
        }
        api = argparse.Namespace(InitParams=InitParams)
        for name, (result, parameters) in prototypes.items():
            function = next(getattr(lib, name) for lib in libs if hasattr(lib, name))
            function.restype, function.argtypes = result, parameters
            setattr(api, name, function)
        api.backend = api.ggml_backend_cpu_init()
        return api

    def context(self):
        return self.lib.ggml_init(self.lib.InitParams(16 << 20, None, True))

    def repacking(self):
        """The buffer type in which Q4_0 takes the layout of the processor's kernels."""
        lib = self.lib
        register = lib.ggml_backend_cpu_reg()
        extra = lib.ggml_backend_reg_get_proc_address(register, b"ggml_backend_dev_get_extra_bufts")
        kinds = ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p)(extra)(
            lib.ggml_backend_reg_dev_get(register, 0))
        name = lib_name(lib)
        i = 0
        while kinds[i]:
            if b"REPACK" in name(kinds[i]):
                return kinds[i]
            i += 1
        raise SystemExit("gemm.py: this ggml has no repacking buffer type")

    def pack(self, w):
        lib = self.lib
        lib.ggml_backend_cpu_set_n_threads(lib.backend, self.threads)
        n, k = w.shape
        self.shape = (n, k)
        self.memory = self.context()
        self.weight = lib.ggml_new_tensor_2d(self.memory, self.type, k, n)
        data = ctypes.create_string_buffer(lib.ggml_nbytes(self.weight))
        lib.ggml_quantize_chunk(self.type, w.ctypes.data, data, 0, n, k, None)
        kind = self.repacking() if self.kind == "Q4_0" else lib.ggml_backend_cpu_buffer_type()
        buffer = lib.ggml_backend_buft_alloc_buffer(
            kind, lib.ggml_backend_buft_get_alloc_size(kind, self.weight))
        lib.ggml_backend_tensor_alloc(buffer, self.weight, lib.ggml_backend_buffer_get_base(buffer))
        lib.ggml_backend_tensor_set(self.weight, data, 0, len(data))
        from gguf import GGMLQuantizationType, quants
        raw = np.frombuffer(data, np.uint8)
        self.exact = quants.dequantize(raw, GGMLQuantizationType(self.type)).reshape(n, k)

    def call(self, x):
        lib, m = self.lib, x.shape[0]
        n, k = self.shape
        memory = self.context()
        source = lib.ggml_new_tensor_2d(memory, 0, k, m)
        product = lib.ggml_mul_mat(memory, self.weight, source)
        graph = lib.ggml_new_graph(memory)
        lib.ggml_build_forward_expand(graph, product)
        lib.ggml_backend_alloc_ctx_tensors(memory, lib.backend)
        lib.ggml_backend_tensor_set(source, x.ctypes.data, 0, x.nbytes)

        def run():
            if lib.ggml_backend_graph_compute(lib.backend, graph) != 0:
                raise SystemExit("gemm.py: ggml failed")

        def answer():
            y = np.empty((m, n), np.float32)
            lib.ggml_backend_tensor_get(product, y.ctypes.data, 0, y.nbytes)
            return y
        return run, answer


def lib_name(lib):
    function = ctypes.CDLL(None).ggml_backend_buft_name
    function.restype, function.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    return function


def ggml_folder():
    spec = importlib.util.find_spec("llama_cpp")
    found = spec and glob.glob(os.path.join(os.path.dirname(spec.origin), "lib", "libggml-base.so"))
    return os.path.dirname(found[0]) if found else None


def peers(arguments):
    folder = arguments.ggml or ggml_folder()
    wanted = [("onnxruntime", lambda: OnnxRuntime(arguments.threads, 32)),
              ("onnxruntime", lambda: OnnxRuntime(arguments.threads, 128))]
    wanted += [("torch", lambda engine=e: Torch(arguments.threads, engine))
               for e in ("x86", "onednn", "bf16")]
    wanted += [("ggml", lambda kind=k: Ggml(arguments.threads, kind, folder)) for k in Ggml.TYPES]
    out = []
    for package, make in wanted:
        if package not in arguments.peers.split(","):
            continue
        try:
            out.append(make())
        except (ImportError, OSError, TypeError) as error:
            print(f"gemm.py: WARNING: {package} is left out: {error}", file=sys.stderr)
    return out


# --- measuring ---

def error_of(peer, x, answer):
    """Of the first rows and all columns, relative to the answer's root mean square."""
    rows = min(8, len(x))
    exact = x[:rows].astype(np.float64) @ peer.exact.astype(np.float64).T
    return float(np.sqrt(np.mean((answer[:rows] - exact) ** 2) / np.mean(exact ** 2)))


def prepare(peer, shapes, w):
    """The peer's call for every shape, each run, checked and timed once."""
    peer.pack(w)
    calls = {}
    for m, x in shapes.items():
        run, answer = peer.call(x)
        run()
        error = error_of(peer, x, answer())
        if not error <= WORST_ERROR:
            raise SystemExit(f"gemm.py: {peer.name}, m={m}: off by {100 * error:.2f} %")
        began = time.perf_counter()
        run()
        once = time.perf_counter() - began
        calls[m] = (run, max(3, min(500, int(0.1 / once))), error)
    return calls


def seconds(run, calls):
    run()
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def clq(arguments, words):
    line = arguments.clq.split() + ["bench", *words, "--reps", "5", "-o", "json"]
    environment = dict(os.environ, POCL_MAX_PTHREAD_COUNT=str(arguments.threads))
    result = subprocess.run(line, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(line)}: exit {result.returncode}: {result.stderr.strip()}")
    answer = json.loads(result.stdout)
    if not all(r["checked"] for r in answer["benchmarks"]):
        raise SystemExit(f"{' '.join(line)}: not checked")
    return answer


def ours(arguments):
    """Seconds by (weights, acts, m), the variants, and the machine's limits."""
    times, variants, context = {}, {}, None
    shape = ["--n", str(arguments.n), "--k", str(arguments.k)]
    quantize = {}
    for acts in sorted({a for _, a in OURS if a != "f32"}):
        answer = clq(arguments, ["quantize", "--rows", arguments.m, "--cols", str(arguments.k),
                                 "--out", acts])
        quantize.update({(acts, r["rows"]): r["real_time"] for r in answer["benchmarks"]})
    for weight, acts in OURS:
        answer = clq(arguments, ["gemm", "--m", arguments.m, *shape, "--weights", weight,
                                 "--acts", acts])
        context = answer["context"]
        for r in answer["benchmarks"]:
            key = (weight, acts, r["m"])
            times[key] = (r["real_time"] + quantize.get((acts, r["m"]), 0.0)) / 1e9
            variants[key] = r["variant"]
    return times, variants, context


def bench(arguments):
    shapes = {int(m): activations(int(m), arguments.k) for m in arguments.m.split(",")}
    w = weights(arguments.n, arguments.k)
    engines = peers(arguments)
    calls = {peer.name: prepare(peer, shapes, w) for peer in engines}
    taken = {}
    for _ in range(arguments.rounds):
        for peer in engines:
            for m, (run, count, _error) in calls[peer.name].items():
                taken.setdefault((peer.name, m), []).append(seconds(run, count))
        times, variants, context = ours(arguments)
        for key, value in times.items():
            taken.setdefault(key, []).append(value)
    rows = []
    for key, values in taken.items():
        m = key[-1]
        middle = statistics.median(values)
        peer = len(key) == 2
        rows.append({"engine": key[0] if peer else f"clq {key[0]}, {key[1]}", "m": m,
                     "n": arguments.n, "k": arguments.k, "ms": 1e3 * middle,
                     "min_max_ms": [1e3 * min(values), 1e3 * max(values)],
                     "gmacs": m * arguments.n * arguments.k / middle / 1e9,
                     "error": calls[key[0]][m][2] if peer else None,
                     "variant": None if peer else variants[key]})
    return rows, context


def print_table(rows, context):
    sizes = sorted({r["m"] for r in rows})
    print(f"GMAC/s; int8 peak {context['int8_ops_per_second'] / 2e9:.0f}, "
          f"f32 peak {context['fp32_flops_per_second'] / 2e9:.0f}\n")
    print("| engine | " + " | ".join(f"M = {m}" for m in sizes) + " |")
    print("|---|" + "--:|" * len(sizes))
    for engine in dict.fromkeys(r["engine"] for r in rows):
        cells = {r["m"]: f"{r['gmacs']:.0f}" for r in rows if r["engine"] == engine}
        print(f"| {engine} | " + " | ".join(cells.get(m, "") for m in sizes) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clq", default="clq", help="the command to measure")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--m", default="1,8,64,512")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--k", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="onnxruntime,torch,ggml")
    parser.add_argument("--ggml", default=None, help="the folder of libggml-base.so")
    parser.add_argument("--out", default=None, help="also write the JSON to this file")
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"gemm.py: the load average is {load:.1f}: these figures are worthless",
              file=sys.stderr)
    rows, context = bench(arguments)
    result = {"context": {"date": datetime.datetime.now().astimezone().isoformat("T", "seconds"),
                          "host": platform.node(), "threads": arguments.threads,
                          "load_average": load, "clq": context}, "benchmarks": rows}
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
    if arguments.output == "json":
        print(json.dumps(result, indent=1))
    else:
        print_table(rows, context)


if __name__ == "__main__":
    main()
