"""Quantizes a model, loads the result by transformers on the CPU and compares logits with those of the original model whose
weights were replaced by the dequantized ones (dequantize.py), in binary32; and both with what lq-run says of the folder.

    load_checkpoint.py LQ_QUANTIZE LQ_RUN MODEL TEXT DTYPE BOUND PACKAGES SCHEME [OPTION...]

DTYPE is what transformers computes in; BOUND the largest relative RMS of the difference; PACKAGES, joined by commas, have to be
there, otherwise the test is skipped (77); so it is where the package cannot load the layout. For schemes with measured activations TEXT is read, and the scales in the checkpoint are
compared with the largest magnitudes that transformers sees."""
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SKIPPED = 77


def skip(why):
    print("skipped: " + why)
    sys.exit(SKIPPED)


def require(packages):
    for package in packages:
        try:
            importlib.import_module(package)
        except Exception as error:  # a broken package is as good as none
            skip(f"{sys.executable} has no {package} ({type(error).__name__}: {error})")


IDS = [(5 * i * i + 17 * i + 3) % 2000 for i in range(48)]


def logits_of(model, torch):
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].float()


def logits_of_run(run, folder, how, torch):
    """What lq-run makes of a folder, with kernels that round nothing but what the checkpoint says: sets with BF16 round attention of
    many tokens, too."""
    request = json.dumps({"tokens": IDS, "positions": list(range(len(IDS)))})
    answer = subprocess.run([run, folder, "-q", "--logits", "-", *how], input=request, capture_output=True, text=True, check=True,
                            env=dict(os.environ, LQ_CPU_ISA="avx2"))
    logits = json.loads(answer.stdout)["logits"]
    return torch.tensor([logits[str(i)] for i in range(len(IDS))])


def relative_rms(got, expected):
    return ((got - expected).square().mean() / expected.square().mean()).sqrt().item()


def largest_inputs(model, tokenizer, text, chunk, torch):
    """Of each Linear, over the text in chunks of so many tokens."""
    peaks = {}

    def watch(name):
        def hook(module, inputs):
            peaks[name] = max(peaks.get(name, 0), inputs[0].abs().max().item())

        return hook

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    ]
    ids = tokenizer(text.rstrip("\n"))["input_ids"]
    for begin in range(0, len(ids) - chunk + 1, chunk):
        part = list(ids[begin : begin + chunk])
        with torch.no_grad():
            model(torch.tensor([part]))
    for hook in hooks:
        hook.remove()
    return peaks


def compare_inputs(tensors, peaks):
    """How far scales of activations are from what the magnitudes ask for, relative to it."""
    worst = 0
    for name, peak in peaks.items():
        scale = tensors.get(name + ".input_scale")
        if scale is not None:
            codes = 127.5 if (name + ".weight") in tensors and tensors[name + ".weight"].dtype.name == "int8" else 448
            worst = max(worst, abs(float(scale.reshape(())) * codes / peak - 1))
        else:
            worst = max(worst, abs(6 * 448 / float(tensors[name + ".input_global_scale"].reshape(())) / peak - 1))
    return worst


def main():
    quantize, run, source, text, dtype, bound, packages, *arguments = sys.argv[1:]
    require(["numpy", "torch", "transformers"] + [p for p in packages.split(",") if p])
    import torch
    import transformers

    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import dequantize
    import round_inputs

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        out = str(pathlib.Path(work) / "out")
        chunk = 64
        measured = arguments[0] in ("FP8_STATIC", "W8A8_STATIC", "NVFP4")
        command = [quantize, source, out, "-q", *arguments]
        subprocess.run(command + (["--calibrate", text, "-c", str(chunk)] if measured else []), check=True)

        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        if measured:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            peaks = largest_inputs(model, tokenizer, pathlib.Path(text).read_text(), chunk, torch)
            worst = compare_inputs(dequantize.read_tensors(out), peaks)
            print(f"scales of {len(peaks)} modules' activations differ by {worst:.4f} at most")
            assert worst < 0.03, "scales of activations are not those of the largest magnitudes"
        original = logits_of(model, torch)
        weights = dequantize.dequantized(out)
        state = {name: torch.from_numpy(values.copy()) for name, values in weights.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
        expected = logits_of(model, torch)
        round_inputs.round_inputs(model, arguments[0], dequantize.read_tensors(out))
        rounded = logits_of(model, torch)
        exact = relative_rms(logits_of_run(run, out, ["--exact"], torch), expected)
        ours = logits_of_run(run, out, [], torch)
        # One activation that is rounded the other way changes all tokens after it: the first one is compared, too.
        as_run, first = relative_rms(ours, rounded), relative_rms(ours[:1], rounded[:1])
        print(f"{' '.join(arguments)}: lq-run --exact: relative RMS {exact:.7f} from the dequantized weights; "
              f"lq-run: {as_run:.7f} from them with rounded activations, {first:.7f} for the first token")
        assert exact < 1e-5, "lq-run --exact computes something else"
        if re.match("W[234]A16", arguments[0]):  # products with these integers round their input to 8 bits
            assert as_run < 0.1, "lq-run computes something else"
        else:
            assert first < 1e-5, "lq-run rounds activations in another way"
        if arguments[0] == "W8A8_STATIC":  # the ids are none of the text's: what saturates says nothing of how it was made
            expected = rounded

        try:
            loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
                out, dtype=getattr(torch, dtype), device_map="cpu", output_loading_info=True
            )
        except RuntimeError as error:
            if packages == "compressed_tensors" and arguments[0].endswith("_ASYM") and "mismatched" in str(error):
                skip(f"transformers {transformers.__version__} expects zero points that are not packed, and loads no such checkpoint")
            raise
        if arguments[-1] == "fp8" and all(name.endswith("_scale") for name in info["unexpected_keys"]) and info["unexpected_keys"]:
            skip(f"transformers {transformers.__version__} looks for weight_scale_inv; the scale of a tensor is weight_scale, for vLLM")
        lost = [name for name in info["missing_keys"] if name != "lm_head.weight"]
        assert not lost and not info["unexpected_keys"], (lost, info["unexpected_keys"])
        got = logits_of(loaded, torch)
        rms = relative_rms(got, expected)
        quantized = relative_rms(original, expected)
        print(f"{' '.join(arguments)}: transformers {transformers.__version__} in {dtype}: relative RMS {rms:.5f} "
              f"from the dequantized weights, bound {bound}; quantization itself {quantized:.5f}; lq-run from transformers {relative_rms(ours, got):.5f}")
        assert quantized > 0, "nothing was quantized"
        assert rms < float(bound), "the loaded checkpoint computes something else"


main()
