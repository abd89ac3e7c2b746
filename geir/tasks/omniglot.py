"""Learn handwritten characters from one drawing of each: `python -m geir.tasks.omniglot --data PATH`.

An episode shows five characters that the network has never seen, a labeled drawing of each, and then others to be
recognized: 5-way 1-shot classification. `--method maml` takes steps of gradient descent on the labeled drawings, from a
start from which they suffice (`geir.learning.adapt`); `--method plasticity` has weights that change with the activity
(`geir.learning.HebbianLayer`). `--neuron relu` is the same network with rectifiers, trained in the same way.

A quarter of the characters is for testing. The others and their rotations by multiples of 90 degrees, as further
characters, are for training; `--validate` tests on a quarter of them instead. Drawings are reduced to 28 x 28 pixels.

References: B. Lake, R. Salakhutdinov & J. Tenenbaum, *Human-level concept learning through probabilistic program
induction*, 2015, whose data these are; C. Finn, P. Abbeel & S. Levine, *Model-agnostic meta-learning for fast
adaptation of deep networks*, 2017; K. Stewart & E. Neftci, *Meta-learning spiking neural networks with surrogate
gradient descent*, 2022; T. Miconi, J. Clune & K. Stanley, *Differentiable plasticity: training plastic neural networks
with backpropagation*, 2018.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from .catalog import Published
from .command_line import build_parser, main, Result
from .epochs import descend, IterationSettings, train_iterations
from .few_shot import GradientLearner, PlasticLearner
from .figure import draw_episode
from .omniglot_data import draw_episodes, Episodes, load, with_rotations
from .settings import out_setting, resume_setting, seed_setting, setting

PUBLISHED = Published(
    "test_accuracy",
    "about 98 %, on all of Omniglot",
    "K. Stewart & E. Neftci, 2022 (MAML), and T. Miconi et al., 2018 (plasticity)",
)
METHODS = {"maml": GradientLearner, "plasticity": PlasticLearner}
NEURONS = ("lif", "relu")
# Weight updates between two tests.
EPOCH = 200
# Drawings of each character to be recognized, and episodes that are tested together.
QUERIES, TEST_BATCH = 3, 25


@dataclass(frozen=True)
class Settings(IterationSettings):
    """Settings of a run. Each field is a flag of the command line."""

    method: str = setting("maml", "how the network learns a character: maml or plasticity", choices=tuple(METHODS))
    neuron: str = setting("lif", "lif for spiking neurons, or relu", choices=NEURONS)
    iterations: int = setting(1000, "number of weight updates")
    batch_size: int = setting(8, "episodes per update")
    channels: int = setting(16, "channels of each convolutional layer")
    steps: int = setting(5, "time steps of 1 ms for which a drawing is shown")
    learning_rate: float = setting(5e-3, "learning rate of Adam in the first iteration")
    decay: float = setting(0.1, "learning rate of the last iteration, relative to the first")
    test_episodes: int = setting(400, "number of test episodes", free=True)
    validate: bool = setting(False, "test on a quarter of the training characters instead")
    seed: int = seed_setting("weights and episodes")
    out: Path = out_setting("omniglot", "checkpoint and figure")
    resume: bool = resume_setting()


def network(settings: Settings) -> GradientLearner | PlasticLearner:
    """A network that learns within an episode by the method of the settings."""
    return METHODS[settings.method](settings.neuron, settings.channels, settings.steps)


def accuracy(model: torch.nn.Module, episodes: Episodes) -> float:
    """Share of drawings that are recognized."""
    model.eval()
    with torch.no_grad():
        parts = zip(*(part.split(TEST_BATCH) for part in episodes), strict=True)
        right = [model(part).argmax(-1) == part.answers for part in map(Episodes._make, parts)]
    model.train()
    return torch.cat(right).float().mean().item()


def run(data: Path | str, **settings: object) -> Result:
    """Train and evaluate on the drawings of `omniglot_data.load`; for `settings`, see `geir.tasks`."""
    given = replace(Settings(), **settings)
    drawings = load(Path(data), given.validate)
    train = with_rotations(drawings.train)
    # The test episodes are the same for all seeds.
    test = draw_episodes(drawings.test, given.test_episodes, QUERIES, torch.Generator().manual_seed(1_000_003))
    torch.manual_seed(given.seed)
    model = network(given)
    optimizer = torch.optim.Adam(model.parameters(), lr=given.learning_rate)

    def update(episodes: Episodes) -> float:
        return descend(optimizer, cross_entropy(model(episodes).flatten(0, 1), episodes.answers.flatten()))

    def draw_figure(_: object) -> Result:
        figure = given.out / "omniglot.png"
        shown = Episodes._make(part[:1] for part in test)
        with torch.no_grad():
            probabilities = model.eval()(shown).softmax(-1)[0]
        # One drawing of each character.
        drawn = slice(None, None, QUERIES)
        draw_episode(shown.support[0, :, 0], shown.labels[0], shown.queries[0, drawn, 0], probabilities[drawn], figure)
        return {"figure": str(figure)}

    result = train_iterations(
        "omniglot",
        given,
        model,
        optimizer,
        every=EPOCH,
        draw=lambda generator: draw_episodes(train, given.batch_size, QUERIES, generator),
        update=update,
        evaluate=lambda: accuracy(model, test),
        finish=draw_figure,
    )
    return result | {
        "method": given.method,
        "neuron": given.neuron,
        "train_characters": len(drawings.train),
        "test_characters": len(drawings.test),
        "test_episodes": given.test_episodes,
    }


if __name__ == "__main__":
    files = "folder images_background of Omniglot, or .npz file of its drawings"
    sys.exit(main(build_parser("omniglot", __doc__, Settings(), data=files), run))
