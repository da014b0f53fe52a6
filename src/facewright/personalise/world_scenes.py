"""The miniature world: pictures of one to three people side by side, in a style, with a caption and a mask of each.

Nothing is stored. Every picture follows from the world's seed and its own number; heads are cut out of aligned faces
along an oval and set on a plain ground, so that their masks are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from facewright.align import ARCFACE_TEMPLATE
from facewright.errors import ConfigError, InputError
from facewright.personalise.world_captions import Said, caption_of, drawn_phrase, templates
from facewright.personalise.world_faces import WorldFaces
from facewright.personalise.world_styles import PHOTO, STYLES, apply_styles, background_of
from facewright.training.seeds import seed_of

TRIED = 64  # faces among which a picture's people are looked for
FACE, MARGIN, CELLS = 128, 8, 16  # a packed face: its side, what surrounds the ArcFace crop, cells of its mask
HALF_WIDTH = 0.39  # of a head, as a share of the tile's side
ROUNDNESS = 2.6  # exponent of the oval; 2 is an ellipse
FOREHEAD = 0.1  # of the tile's side: how far a head reaches over the photo's end, where its border is repeated


@dataclass(frozen=True)
class WorldConfig:
    """What the world's pictures look like."""

    size: int = 128  # pixels of a picture's side; a multiple of 8
    people: tuple[float, ...] = (0.5, 0.35, 0.15)  # shares of pictures with one person, two, three ...
    sides: tuple[tuple[float, float], ...] = ((0.75, 0.9), (0.55, 0.64), (0.39, 0.42))
    # smallest and largest tile of a face, as a share of the picture's side, by the number of people
    plain: float = 0.3  # share of pictures without a style; the other styles share the rest
    whole: float = 0.0  # share of the pictures of one person that the photo fills; on a coloured ground its head alone
    said: Said = field(default_factory=Said)

    def __post_init__(self) -> None:
        if self.size < 16 or self.size % 8:
            raise ConfigError(f"size must be a multiple of 8 from 16 on, got {self.size}")
        if not self.people or min(self.people) < 0 or abs(sum(self.people) - 1) > 1e-6:
            raise ConfigError(f"people must be shares that add up to 1, got {self.people}")
        if len(self.sides) != len(self.people) or not all(0.1 <= low <= high <= 1 for low, high in self.sides):
            raise ConfigError(
                f"sides must be {len(self.people)} pairs of smallest and largest share from 0.1 to 1, got {self.sides}"
            )
        if not (0 <= self.plain <= 1 and 0 <= self.whole <= 1):
            raise ConfigError(f"plain and whole must be shares from 0 to 1, got {self.plain} and {self.whole}")


@dataclass(frozen=True)
class Figure:
    """A person of a picture; the tile is the packed face of 128 px, made smaller."""

    row: int  # of the pack
    left: int  # of the tile, in pixels of the picture; its corners may lie outside
    top: int
    side: int
    mirrored: bool
    phrase: str  # that names them in the caption, such as "an old man" or "mira tolen"
    noun: str  # its last word
    uncut: bool = False  # the tile is the picture, with what is around the head on the photo

    def points(self) -> np.ndarray:
        """Eyes, nose and corners of the mouth, float32 (5, 2) x, y in pixels of the picture, from the left of it."""
        points = (ARCFACE_TEMPLATE + MARGIN + 0.5) * (self.side / FACE) - 0.5
        if self.mirrored:
            points = np.stack([self.side - 1 - points[:, 0], points[:, 1]], 1)[[1, 0, 2, 4, 3]]
        return np.asarray(points + np.array([self.left, self.top]), np.float32)


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn."""

    figures: tuple[Figure, ...]  # from left to right
    style: str  # of STYLES
    template: int  # of templates(style)
    ground: tuple[tuple[int, int, int], tuple[int, int, int]]  # behind the people: RGB at the top, at the bottom

    @property
    def caption(self) -> str:
        """The picture in words."""
        return caption_of([figure.phrase for figure in self.figures], self.style, template=self.template)

    def marked(self, *, style_said: bool = True) -> str:
        """The caption with braces around the words of each person, as `subject_captions.marked_phrases` reads it.

        Args:
            style_said: False: it is that of a plain photo, whatever the style is.
        """
        phrases = [f"{{{figure.phrase}}}" for figure in self.figures]
        return caption_of(phrases, self.style, template=self.template) if style_said else caption_of(phrases)


class World:
    """Scenes of some of the faces, and their pictures.

    Args:
        faces: of a pack.
        rows: which of them appear; those who are held out and those who are not belong in worlds of their own.
        config: what pictures look like.
        seed: another seed gives other scenes.

    Raises:
        InputError: fewer faces than a picture can have people.
    """

    def __init__(self, faces: WorldFaces, rows: np.ndarray, config: WorldConfig, *, seed: int) -> None:
        if len(rows) < len(config.people):
            raise InputError(
                f"a picture can have {len(config.people)} people, and there are {len(rows)} usable faces; give more"
            )
        self.faces, self.rows, self.config, self.seed = faces, rows, config, seed
        middle = faces.pack.masks[:, :, CELLS // 2 - 1 : CELLS // 2 + 1].min(2)  # (N, 16): where the photo is real
        self._top = np.maximum(0, middle.argmax(1) / CELLS - FOREHEAD)
        self._bottom = 1 - middle[:, ::-1].argmax(1) / CELLS

    def scene(self, number: int, *, style: str | None = None, people: int | None = None) -> Scene:
        """Scene `number`, from 0; there is no last one.

        Args:
            number: of the scene.
            style: of STYLES; None: drawn.
            people: how many; None: drawn.
        """
        config, rng = self.config, np.random.default_rng(seed_of("scene", self.seed, number))
        drawn = int(rng.choice(len(config.people), p=config.people)) + 1
        count = drawn if people is None else people
        if not 1 <= count <= len(config.people):
            raise InputError(f"a picture of this world has 1 to {len(config.people)} people, got {count}")
        drawn_style = PHOTO if rng.random() < config.plain else STYLES[int(rng.integers(1, len(STYLES)))]
        style = drawn_style if style is None else style
        ground = _ground(style, rng)
        figures = tuple(self._named(self._figures(count, rng), number))
        if count == 1:
            figures = self._perhaps_whole(figures[0], number, uncut=background_of(style) is None)
        return Scene(figures, style, int(rng.integers(len(templates(style)))), ground)

    def draw(self, scenes: Sequence[Scene]) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 (B, S, S, 3) RGB, and masks bool (B, P, S, S) of their people from left to right.

        P is the most people that a picture of this world has; the mask of nobody is empty. Where heads overlap, the
        pixel belongs to the one in front.
        """
        size = self.config.size
        masks = np.zeros((len(scenes), len(self.config.people), size, size), bool)
        images = np.empty((len(scenes), size, size, 3), np.uint8)
        for image, own, scene in zip(images, masks, scenes, strict=True):
            image[:] = self._canvas(scene, own)
        return apply_styles(images, [scene.style for scene in scenes]), masks

    def points(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Of the people's faces from left to right, float32 (B, P, 5, 2) as of `Figure.points`; NaN for nobody."""
        found = np.full((len(scenes), len(self.config.people), 5, 2), np.nan, np.float32)
        for own, scene in zip(found, scenes, strict=True):
            own[: len(scene.figures)] = [figure.points() for figure in scene.figures]
        return found

    def real(self, scenes: Sequence[Scene]) -> np.ndarray:
        """Where pictures are real, bool (B, 16, 16): False where a photo ends and its border is repeated."""
        found = np.ones((len(scenes), CELLS, CELLS), bool)
        for own, scene in zip(found, scenes, strict=True):
            for figure in scene.figures:
                if figure.uncut:
                    mask = self.faces.pack.masks[figure.row]
                    own[:] = mask[:, ::-1] if figure.mirrored else mask
        return found

    def images(self, numbers: Sequence[int]) -> np.ndarray:
        """The pictures of these scenes, uint8 (B, S, S, 3) RGB."""
        return self.draw([self.scene(number) for number in numbers])[0]

    def _figures(self, count: int, rng: np.random.Generator) -> list[Figure]:
        size, (low, high) = self.config.size, self.config.sides[count - 1]
        side = int(rng.integers(round(low * size), round(high * size) + 1))
        figures = []
        for place, row in enumerate(self._people(count, rng)):
            slack = max(0.0, size / count - 2 * HALF_WIDTH * side) / 2
            centre = size * (place + 0.5) / count + rng.uniform(-slack, slack)
            top = rng.uniform(0.3, 0.7) * (size - side)
            phrase, noun = drawn_phrase(self.faces.known(row), self.config.said, rng)
            mirrored = bool(rng.random() < 0.5)
            figures.append(Figure(row, round(centre - side / 2), round(top), side, mirrored, phrase, noun))
        return figures

    def _perhaps_whole(self, figure: Figure, number: int, *, uncut: bool) -> tuple[Figure]:
        """Drawn apart, so that the other pictures are those of a world without whole photos."""
        drawn = np.random.default_rng(seed_of("whole", self.seed, number)).random()
        if drawn >= self.config.whole:
            return (figure,)
        return (replace(figure, left=0, top=0, side=self.config.size, uncut=uncut),)

    def _named(self, figures: list[Figure], number: int) -> list[Figure]:
        """Some of them by name; drawn apart, so that the pictures are those of a world without names."""
        names, share = self.faces.names, self.config.said.named
        if names is None or not share:
            return figures
        drawn = np.random.default_rng(seed_of("named", self.seed, number)).random(len(figures)) < share
        return [
            replace(figure, phrase=name, noun=name.split()[-1]) if said and (name := str(names[figure.row])) else figure
            for figure, said in zip(figures, drawn, strict=True)
        ]

    def _people(self, count: int, rng: np.random.Generator) -> list[int]:
        """Faces of different people."""
        labels, chosen = self.faces.pack.labels, list[int]()
        for place in rng.choice(len(self.rows), min(TRIED, len(self.rows)), replace=False):
            row = int(self.rows[place])
            if labels[row] < 0 or labels[row] not in [labels[other] for other in chosen]:
                chosen.append(row)
            if len(chosen) == count:
                return chosen
        raise InputError(f"{count} different people are asked for, and the faces are of fewer; give more faces")

    def _canvas(self, scene: Scene, masks: np.ndarray) -> np.ndarray:
        """float32 (S, S, 3), without the style's effect; `masks` (P, S, S) is filled."""
        size = self.config.size
        down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        above, below = (np.array(colour, np.float32) for colour in scene.ground)
        canvas = np.broadcast_to(above * (1 - down) + below * down, (size, size, 3)).copy()
        for number, figure in enumerate(scene.figures):
            tile, head = self._tile(figure)
            left, top = max(0, figure.left), max(0, figure.top)
            right, bottom = min(size, figure.left + figure.side), min(size, figure.top + figure.side)
            inside = np.s_[top - figure.top : bottom - figure.top, left - figure.left : right - figure.left]
            here = np.s_[top:bottom, left:right]
            share = head[inside][..., None]
            canvas[here] += (1 if figure.uncut else share) * (tile[inside] - canvas[here])
            masks[(slice(0, number), *here)] &= share[..., 0] < 0.5
            masks[(number, *here)] = share[..., 0] >= 0.5
        return np.asarray(canvas.round())

    def _tile(self, figure: Figure) -> tuple[np.ndarray, np.ndarray]:
        """A face float32 (s, s, 3) and how much of each pixel is its head, (s, s)."""
        side = figure.side
        shrinks = side < FACE
        face = cv2.resize(
            np.asarray(self.faces.pack.images[figure.row]),
            (side, side),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
        )
        if figure.mirrored:
            face = face[:, ::-1]
        head = _oval(side, float(self._top[figure.row]), float(self._bottom[figure.row]))
        return face.astype(np.float32), head


def _oval(side: int, top: float, bottom: float) -> np.ndarray:
    """How much of each pixel of a tile lies in an oval between these shares of its height, float32 (s, s)."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    high = max(0.1, bottom - top) / 2
    across = np.abs((at - 0.5) / HALF_WIDTH) ** ROUNDNESS
    down = np.abs((at - top - high) / high) ** ROUNDNESS
    radius = (across[None] + down[:, None]) ** (1 / ROUNDNESS)
    return np.asarray(np.clip((1 - radius) * (HALF_WIDTH * side) + 0.5, 0, 1), np.float32)


def _ground(style: str, rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """What is behind people: nearly grey, or the colour of the style."""
    colour = background_of(style)
    if colour is None:
        both = rng.uniform(60, 215, (2, 1)) + rng.normal(0, 6, (2, 3))
    else:
        both = np.array(colour) + rng.normal(0, 10, (1, 3)) + rng.normal(0, 6, (2, 1))
    (a, b, c), (d, e, f) = np.clip(both, 0, 255).round().astype(int).tolist()
    return (a, b, c), (d, e, f)
