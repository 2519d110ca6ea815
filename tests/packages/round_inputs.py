"""What quantized checkpoints say of activations, in binary32 with torch: the inputs of Linear modules rounded as their schemes ask.

Written from the rules of compressed-tensors, apart from the program's own code."""
import torch

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
LARGEST_E4M3, LARGEST_FP4 = 448, 6


def e4m3(x):
    return x.clamp(-LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn).float()


def e2m1(x):
    """The nearest, ties to the even code."""
    middles = (FP4[1:] + FP4[:-1]) / 2
    size = x.abs().clamp(max=LARGEST_FP4)
    low, high = torch.bucketize(size, middles, right=False), torch.bucketize(size, middles, right=True)
    return FP4[torch.where((low != high) & (low % 2 == 1), high, low)] * x.sign()


def under_largest(x, most, cast):
    """Codes up to `most` under a scale for the last dimension."""
    scale = x.abs().amax(-1, keepdim=True) / most
    return cast(x / torch.where(scale == 0, torch.ones_like(scale), scale)) * scale


def int8(x):
    return torch.clamp(torch.round(x), -128, 127)


def grouped(rounding, size):
    return lambda x: rounding(x.reshape(*x.shape[:-1], -1, size)).reshape(x.shape)


def mxfp8(x):
    bits = x.abs().amax(-1, keepdim=True).contiguous().view(torch.int32)
    exponent = (bits >> 23) + ((bits & 0x7FFFFF) >= 0x600000).int() - 127 - 8
    scale = torch.ldexp(torch.ones_like(x[..., :1]), exponent)
    return e4m3(x / scale) * scale


def nvfp4(divisor):
    def rounding(x):
        scale = e4m3(x.abs().amax(-1, keepdim=True) / LARGEST_FP4 * divisor)
        scale = torch.where(scale == 0, torch.full_like(scale, 0.125), scale) / divisor
        return e2m1(x / scale) * scale

    return rounding


def static(scale, cast):
    return lambda x: cast(x / scale) * scale


def rounding_of(scheme, module, tensors):
    """A function of activations for a module, from the scheme's name and the scales in the checkpoint; None: they stay."""
    per_token = {
        "W8A8": lambda x: under_largest(x, 127.5, int8),
        "FP8": lambda x: under_largest(x, LARGEST_E4M3, e4m3),
        "FP8_BLOCK": grouped(lambda x: under_largest(x, LARGEST_E4M3, e4m3), 128),
        "MXFP8": grouped(mxfp8, 32),
    }
    per_token["W4AFP8"] = per_token["FP8_DYNAMIC"] = per_token["FP8"]
    if scheme in per_token:
        return per_token[scheme]
    casts = {"W8A8_STATIC": int8, "FP8_STATIC": e4m3}
    if scheme in casts:
        return static(float(tensors[module + ".input_scale"].reshape(())), casts[scheme])
    if scheme == "NVFP4":
        return grouped(nvfp4(float(tensors[module + ".input_global_scale"].reshape(()))), 16)
    return None


def round_inputs(model, scheme, tensors):
    """From now on the model's Linear modules that the checkpoint has quantized round what they are given."""
    for name, module in model.named_modules():
        quantized = any(name + end in tensors for end in (".weight_scale", ".weight_scale_inv"))
        rounding = rounding_of(scheme, name, tensors) if isinstance(module, torch.nn.Linear) and quantized else None
        if rounding:
            module.register_forward_pre_hook(lambda _, inputs, rounding=rounding: (rounding(inputs[0]), *inputs[1:]))
