"""Reads a quantized checkpoint with numpy alone: the matrices of a folder as binary32, from the description of each layout.

Written apart from the program's own code and from the packages that load such folders, so that all three can be compared."""
import json
import pathlib

import numpy as np

SIZES = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "I64": np.int64, "I8": np.int8, "U8": np.uint8}


def read_tensors(folder):
    """Name to array. BF16 becomes binary32; 8-bit floats stay codes."""
    tensors = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, facts in header.items():
            begin, end = facts["data_offsets"]
            raw = data[8 + length + begin : 8 + length + end]
            if facts["dtype"] == "BF16":
                values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
            elif facts["dtype"].startswith("F8_"):
                values = np.frombuffer(raw, np.uint8)
            else:
                values = np.frombuffer(raw, SIZES[facts["dtype"]])
            tensors[name] = values.reshape(facts["shape"])
    return tensors


def small_floats(bits_of_exponent, bits_of_mantissa, bias):
    """The value of every code of a float with a sign, without infinities."""
    n = 1 << (1 + bits_of_exponent + bits_of_mantissa)
    codes = np.arange(n)
    mantissa = codes & ((1 << bits_of_mantissa) - 1)
    exponent = (codes >> bits_of_mantissa) & ((1 << bits_of_exponent) - 1)
    whole = np.where(exponent > 0, mantissa + (1 << bits_of_mantissa), mantissa)
    values = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - bias - bits_of_mantissa)
    return np.where(codes * 2 >= n, -values, values).astype(np.float32)


E4M3 = small_floats(4, 3, 7)
E2M1 = small_floats(2, 1, 1)


def bit_string(words, n, bits):
    """n codes without a sign from each row of 32-bit words, low bits first."""
    rows = words.reshape(words.shape[0], -1).view(np.uint8).reshape(words.shape[0], -1)
    flat = np.unpackbits(rows, axis=1, bitorder="little")[:, : n * bits]
    weights = 1 << np.arange(bits)
    return (flat.reshape(flat.shape[0], n, bits) * weights).sum(axis=2).astype(np.int32)


def spread(scales, shape):
    """A scale for each value: of the tensor, of rows, of groups of columns, or of blocks of 128 x 128."""
    rows, cols = shape
    if scales.size == 1:
        return np.full(shape, scales.reshape(()), np.float32)
    if scales.shape[0] == rows:
        return np.repeat(scales.astype(np.float32), cols // scales.shape[1], axis=1)
    blocks = np.repeat(np.repeat(scales.astype(np.float32), 128, axis=0), 128, axis=1)
    return blocks[:rows, :cols]


def nibbles(packed):
    """Two codes a byte, the first one low."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(packed.shape[0], -1)


def compressed_tensors(parts, config):
    weights = config["config_groups"]["group_0"]["weights"]
    kind = config["format"]
    scale = parts["weight_scale"]
    if kind == "pack-quantized":
        bits = weights["num_bits"]
        rows, cols = (int(x) for x in parts["weight_shape"])
        codes = bit_string(np.ascontiguousarray(parts["weight_packed"]), cols, bits) - (1 << (bits - 1))
        zeros = np.zeros(scale.shape, np.int32)
        if "weight_zero_point" in parts:
            down = np.ascontiguousarray(parts["weight_zero_point"].T)
            zeros = bit_string(down, rows, bits).T - (1 << (bits - 1))
        return (codes - spread(zeros, (rows, cols))) * spread(scale, (rows, cols))
    if kind == "int-quantized":
        return parts["weight"].astype(np.float32) * spread(scale, parts["weight"].shape)
    if kind == "float-quantized":
        return E4M3[parts["weight"]] * spread(scale, parts["weight"].shape)
    if kind == "nvfp4-pack-quantized":
        codes = nibbles(parts["weight_packed"])
        return E2M1[codes] * spread(E4M3[scale] / parts["weight_global_scale"].reshape(()), codes.shape)
    power = np.ldexp(np.float32(1), scale.astype(np.int32) - 127)
    if kind == "mxfp4-pack-quantized":
        codes = nibbles(parts["weight_packed"])
        return E2M1[codes] * spread(power, codes.shape)
    if kind == "mxfp8-quantized":
        return E4M3[parts["weight"]] * spread(power, parts["weight"].shape)
    raise ValueError("unknown format " + kind)


def gptq(parts, config):
    bits = config["bits"]
    qweight, scales, group = parts["qweight"], parts["scales"].astype(np.float32), parts["g_idx"]
    rows, cols = scales.shape[1], group.shape[0]
    codes = bit_string(np.ascontiguousarray(qweight.T), cols, bits)
    zeros = bit_string(np.ascontiguousarray(parts["qzeros"]), rows, bits)
    if config["checkpoint_format"] == "gptq":
        zeros = (zeros + 1) & ((1 << bits) - 1)
    return (codes - zeros.T[:, group]) * scales.T[:, group]


def awq(parts, config):
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])

    def columns(words):
        codes = bit_string(np.ascontiguousarray(words), words.shape[1] * 8, 4).reshape(words.shape[0], -1, 8)
        there = np.empty_like(codes)
        there[:, :, order] = codes
        return there.reshape(words.shape[0], -1)

    codes, zeros = columns(parts["qweight"]), columns(parts["qzeros"])
    size = codes.shape[0] // zeros.shape[0]
    step = np.repeat(parts["scales"].astype(np.float32), size, axis=0)
    return ((codes - np.repeat(zeros, size, axis=0)) * step).T


def bitsandbytes(parts, config):
    if config["load_in_8bit"]:
        return parts["weight"].astype(np.float32) * (parts["SCB"] / np.float32(127))[:, None]
    state = next(parts[name] for name in parts if name.startswith("weight.quant_state."))
    state = json.loads(state.tobytes())
    packed = parts["weight"].reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)
    scales = parts["weight.absmax"]
    if "weight.nested_absmax" in parts:
        nested = np.repeat(parts["weight.nested_absmax"], state["nested_blocksize"])[: scales.size]
        scales = parts["weight.nested_quant_map"][scales] * nested + np.float32(state["nested_offset"])
    values = parts["weight.quant_map"][codes] * np.repeat(scales, state["blocksize"])
    return values.reshape(state["shape"])


def fp8(parts, config):
    scale = parts["weight_scale_inv"] if "weight_scale_inv" in parts else parts["weight_scale"]
    return E4M3[parts["weight"]] * spread(scale, parts["weight"].shape)


LAYOUTS = {"compressed-tensors": compressed_tensors, "gptq": gptq, "awq": awq, "bitsandbytes": bitsandbytes, "fp8": fp8}
# What tells that a module is stored so.
MARKS = ("weight_packed", "weight_scale", "weight_scale_inv", "qweight", "SCB", "weight.absmax")


def dequantized(folder):
    """Name to binary32 array of all weights, under the names of the original checkpoint."""
    config = json.loads((pathlib.Path(folder) / "config.json").read_text())["quantization_config"]
    layout = LAYOUTS[config["quant_method"]]
    tensors = read_tensors(folder)
    modules = {}
    for name in tensors:
        for mark in MARKS:
            if name.endswith("." + mark):
                modules[name[: -len(mark) - 1]] = {}
    result = {}
    for name, values in tensors.items():
        owner = next((m for m in modules if name.startswith(m + ".") and not name.endswith(".bias")), None)
        if owner is None:
            result[name] = values.astype(np.float32)
        else:
            modules[owner][name[len(owner) + 1 :]] = values
    for module, parts in modules.items():
        result[module + ".weight"] = layout(parts, config).astype(np.float32)
    return result
