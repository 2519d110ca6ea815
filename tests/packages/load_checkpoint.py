"""Quantizes a model, loads the result by transformers on the CPU and compares logits with those of the original model whose
weights were replaced by the dequantized ones (dequantize.py), in binary32; and both with what lq-run says of the folder.

    load_checkpoint.py LQ_QUANTIZE LQ_RUN MODEL TEXT DTYPE BOUND PACKAGES SCHEME [OPTION...]

DTYPE is what transformers computes in; BOUND the largest relative RMS of the difference; PACKAGES, joined by commas, have to be
there, otherwise the test is skipped (77); so it is where the package cannot load the layout. For schemes with measured activations TEXT is read, and the scales in the checkpoint are
compared with the largest magnitudes that transformers sees."""
import importlib
import json
import pathlib
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
    """What lq-run makes of a folder."""
    request = json.dumps({"tokens": IDS, "positions": list(range(len(IDS)))})
    answer = subprocess.run([run, folder, "-q", "--logits", "-", *how], input=request, capture_output=True, text=True, check=True)
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


def round_inputs(model, tensors, torch):
    """Rounds what each Linear is given to 8-bit integers under the checkpoint's scales, as static int8 says. The ids are none
    of the text's, so that many are larger than the largest there: how much the scheme changes says nothing of how it was made."""

    def rounded_by(scale):
        return lambda module, inputs: (torch.clamp(torch.round(inputs[0] / scale), -128, 127) * scale, *inputs[1:])

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name + ".input_scale" in tensors:
            module.register_forward_pre_hook(rounded_by(float(tensors[name + ".input_scale"].reshape(()))))


def main():
    quantize, run, source, text, dtype, bound, packages, *arguments = sys.argv[1:]
    require(["numpy", "torch", "transformers"] + [p for p in packages.split(",") if p])
    import torch
    import transformers

    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import dequantize

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
        plain = expected = logits_of(model, torch)
        if arguments[0] == "W8A8_STATIC":
            round_inputs(model, dequantize.read_tensors(out), torch)
            expected = logits_of(model, torch)
        exact = relative_rms(logits_of_run(run, out, ["--exact"], torch), plain)
        print(f"{' '.join(arguments)}: lq-run --exact: relative RMS {exact:.7f} from the dequantized weights")
        assert exact < 1e-5, "lq-run computes something else"

        try:
            loaded, info = transformers.AutoModelForCausalLM.from_pretrained(
                out, dtype=getattr(torch, dtype), device_map="cpu", output_loading_info=True
            )
        except RuntimeError as error:
            if packages == "compressed_tensors" and arguments[0].endswith("_ASYM") and "mismatched" in str(error):
                skip(f"transformers {transformers.__version__} expects zero points that are not packed, and loads no such checkpoint")
            raise
        lost = [name for name in info["missing_keys"] if name != "lm_head.weight"]
        assert not lost and not info["unexpected_keys"], (lost, info["unexpected_keys"])
        got = logits_of(loaded, torch)
        rms = relative_rms(got, expected)
        quantized = relative_rms(original, expected)
        as_run = relative_rms(logits_of_run(run, out, [], torch), got)
        print(f"{' '.join(arguments)}: transformers {transformers.__version__} in {dtype}: relative RMS {rms:.5f} "
              f"from the dequantized weights, bound {bound}; quantization itself {quantized:.5f}; lq-run from transformers {as_run:.5f}")
        assert quantized > 0, "nothing was quantized"
        assert rms < float(bound), "the loaded checkpoint computes something else"


main()
