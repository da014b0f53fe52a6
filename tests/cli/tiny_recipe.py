"""A recipe of every kind of stage on drawn faces, with networks of a few weights; run as a script, it is carried out.

python tests/cli/tiny_recipe.py FOLDER [ARGUMENT]...
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from tests.training.toys import toy_face

from facewright import encoders
from facewright.cli import app
from facewright.weights import Card, save_weights

PEOPLE, POSES = 12, 2

SCHEDULE = {"images": 4, "batch": 2, "log_every": 2, "save_every": 2, "precision": "fp32"}
TEXT = {
    "autoencoder": 'name = "tiny"\npack = "faces"\n[recipe]\n'
    "[recipe.network]\nchannels = 4\nencoder_widths = [8, 8, 16]\ndecoder_widths = [8, 8, 16]\n",
    "generator": 'name = "tiny"\npack = "faces"\nautoencoder = "x"\nencoder = "encoder.safetensors"\n[recipe]\n'
    "[recipe.network]\nchannels = 4\nwidth = 32\nmultipliers = [1, 2]\nattention = [false, true]\nblocks = 1\n"
    "context_width = 32\n",
    "recogniser": 'name = "tiny"\n[recipe]\ndata = "x"\npeople = 3\nfaces = 12\nnetwork = "slimfacenet"\n',
}

RECIPE = """
[[stage]]
name = "autoencoder"
command = "train autoencoder"
config = "autoencoder.toml"

[[stage]]
name = "generator"
command = "train generator"
config = "generator.toml"
[stage.settings]
autoencoder = "{autoencoder}"

[[stage]]
name = "strangers"
command = "contexts unconditional"
count = 3
generator = "{generator}"
encoder = "./encoder.safetensors"
faces = "{run}/strangers-faces"
steps = 1
batch = 2

[[stage]]
name = "set"
command = "sample"
contexts = "{strangers}"
generator = "{generator}"
encoder = "./encoder.safetensors"
per_identity = 3
sampler = "unipc"
steps = 2
batch = 2

[[stage]]
name = "filter"
command = "set filter"
set = "{set}"
min-similarity = -0.99

[[stage]]
name = "more"
command = "set oversample"
set = "{filter}"
pictures = "{run}/strangers-faces"
contexts = "{strangers}"
encoder = "./encoder.safetensors"
copies = 1

[[stage]]
name = "shards"
command = "set export"
set = "{more}"
to = "tfrecord"

[[stage]]
name = "recogniser"
command = "train recogniser"
config = "recogniser.toml"
[stage.settings]
recipe.data = "{shards}"

[[stage]]
name = "pairs"
command = "set export"
set = "./faces"
to = "bin"
pairs = 20
out = "{run}/pairs.bin"

[[stage]]
name = "benchmarks"
command = "evaluate verification"
pairs = ["{pairs}"]
encoder = "{recogniser}"
resamples = 10
[stage.published."a paper"]
accuracy = 0.9917
"""


def write_recipe(folder: Path) -> Path:
    """The recipe with its configs, faces and encoder; the recipe's file."""
    for person in range(PEOPLE):
        (folder / "faces" / f"{person:03d}").mkdir(parents=True)
        for pose in range(POSES):
            file = folder / "faces" / f"{person:03d}" / f"{pose}.png"
            Image.fromarray(toy_face(person, pose, size=112)).save(file)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = encoders.SlimFaceNet()
    card = Card("tiny", "encoder", {"network": "slimfacenet"}, "drawn", "Apache-2.0", "by chance")
    save_weights(folder / "encoder.safetensors", network.state_dict(), card)
    schedule = "".join(f"{key} = {value!r}\n" for key, value in SCHEDULE.items())
    for kind, text in TEXT.items():
        (folder / f"{kind}.toml").write_text(f"{text}[recipe.schedule]\n{schedule}")
    (folder / "tiny.toml").write_text(RECIPE)
    return folder / "tiny.toml"


if __name__ == "__main__":
    where = Path(sys.argv[1])
    sys.exit(app.run(["run", str(where / "tiny.toml"), "--out", str(where / "run"), *sys.argv[2:]]))
