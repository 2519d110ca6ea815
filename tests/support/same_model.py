"""Whether the transformers package sees the same model in two folders: same_model.py ORIGINAL RESTORED TEXTS.

TEXTS has a JSON string a line. Prints "same" and ends with 0, says what differs and ends with 1, or
ends with 77 when the packages are not there.
"""
import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print("skipped: no transformers:", error)
    sys.exit(77)

original, restored, texts = sys.argv[1:]
a, b = AutoTokenizer.from_pretrained(original), AutoTokenizer.from_pretrained(restored)
for line in open(texts, encoding="utf-8"):
    text = json.loads(line)
    for special in (True, False):
        ids = [t.encode(text, add_special_tokens=special) for t in (a, b)]
        if ids[0] != ids[1]:
            sys.exit(f"token ids of {text!r} differ: {ids[0]} {ids[1]}")
messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
if a.chat_template and a.apply_chat_template(messages, tokenize=False) != b.apply_chat_template(
        messages, tokenize=False):
    sys.exit("chat templates differ")
logits = []
for folder in (original, restored):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[7 * i % model.config.vocab_size for i in range(1, 65)]])
    with torch.no_grad():
        logits.append(model(ids).logits)
if not torch.equal(*logits):
    sys.exit(f"logits differ by up to {(logits[0] - logits[1]).abs().max().item()}")
print("same")
