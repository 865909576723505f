"""Makes fasttext.bin and fasttext.txt beside this file, with fastText itself: pip install fasttext-wheel 'numpy<2'."""

import pathlib
import tempfile

import fasttext

here = pathlib.Path(__file__).parent
words = "crocodile alligator turnip eagle the a of caf\u00e9 river swims eats flies grows".split()
lines = [" ".join(words[(i * j + j) % len(words)] for j in range(1, 9)) for i in range(200)]
with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as text:
    text.write("\n".join(lines))
    text.flush()
    model = fasttext.train_unsupervised(text.name, dim=8, minn=3, maxn=5, bucket=200, minCount=1, epoch=3, thread=1, verbose=0)
model.save_model(str(here / "fasttext.bin"))
asked = sorted(model.words) + ["crocodiel", "alligators", "\u00e9agle", "x", "riverbed"]
with open(here / "fasttext.txt", "w", encoding="utf-8") as out:
    for word in asked:
        out.write(word + " " + " ".join(repr(float(x)) for x in model.get_word_vector(word)) + "\n")
