"""Endless streams of people to train on, mixed from several data sets, and the finite one to validate on.

A run draws from a number of streams, each of which follows from the seed, the epoch and its own number alone.
Processes and their workers share them out, so that what is drawn does not depend on how many there are, and a run that
is resumed at an epoch goes on with what it would have drawn.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import webdataset
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.training.hmr2.annotations import PersonAnnotation
from fourd_humans.training.hmr2.augmentation import Augmentation, Draw, Generators, cut_out, draw_augmentation
from fourd_humans.training.hmr2.datasets import DataSet
from fourd_humans.training.hmr2.filters import Filters, filter_person
from fourd_humans.training.hmr2.tars import Sample

log = logging.getLogger(__name__)

BUFFER = 1000  # people that are shuffled; they are kept as compressed pictures
FIRST = 100  # of them are there when the first one is taken, so that an epoch begins soon
Person = tuple[Sample, PersonAnnotation]


class TrainingCrops(IterableDataset[dict[str, Any]]):
    """Augmented crops without end: see `augmentation.cut_out` for what each holds.

    epoch: starts the streams anew. rank, processes: this process among those that train together. streams: how many
    there are, a multiple of processes times workers; by default that. buffer: people that are shuffled in each.
    Raises: UsageError, when it is iterated, where `streams` cannot be shared out.
    """

    def __init__(
        self,
        data_sets: Sequence[DataSet],
        filters: Filters,
        augmentation: Augmentation,
        *,
        seed: int,
        epoch: int = 0,
        rank: int = 0,
        processes: int = 1,
        streams: int | None = None,
        buffer: int = BUFFER,
    ) -> None:
        self.data_sets, self.filters, self.augmentation = data_sets, filters, augmentation
        self.seed, self.epoch, self.rank, self.processes = seed, epoch, rank, processes
        self.streams, self.buffer = streams, buffer

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        streams = self.streams or self.processes * workers
        if streams % (self.processes * workers):
            raise UsageError(
                f"{streams} streams cannot be shared out among {self.processes} processes with {workers} workers each"
            )
        of_worker = streams // workers
        first = worker * of_worker
        own = [self.stream(number) for number in range(first + self.rank, first + of_worker, self.processes)]
        while True:
            for stream in own:
                yield next(stream)

    def stream(self, number: int) -> Iterator[dict[str, Any]]:
        """The crops of one stream."""
        state = np.random.SeedSequence([self.seed, self.epoch, number]).generate_state(3).tolist()
        people = mixed(self.data_sets, self.filters, np.random.default_rng(state[0]))
        shuffle = webdataset.shuffle(self.buffer, initial=min(self.buffer, FIRST), rng=random.Random(state[1]))
        generators = Generators(state[2])
        for sample, person in shuffle(people):
            draw = draw_augmentation(self.augmentation, generators)
            try:
                picture = sample.decode_image()
            except FourDHumansError as error:
                log.warning("left out: %s", error)
                continue
            yield cut_out(person, picture, draw, self.augmentation)


def mixed(data_sets: Sequence[DataSet], filters: Filters, rng: np.random.Generator) -> Iterator[Person]:
    """People without end, each of a data set that is drawn by its weight; filtered before, so shares stay the same."""
    chances = np.cumsum([data_set.weight for data_set in data_sets])
    sources = [
        people_of(data_set, filters, child)
        for data_set, child in zip(data_sets, rng.spawn(len(data_sets)), strict=True)
    ]
    while True:
        yield next(sources[int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))])


def people_of(data_set: DataSet, filters: Filters, rng: np.random.Generator) -> Iterator[Person]:
    """People of one data set without end; shards are drawn with replacement, as in the released training.

    Raises: FourDHumansError where no person passes the filters.
    """
    shards = data_set.shards
    without: set[int] = set()  # shards that were read and had nobody
    while len(without) < len(shards):
        chosen = int(rng.integers(len(shards)))
        without.add(chosen)
        for sample in data_set.read(shards[chosen]):
            for person in sample.people:
                kept = filter_person(person, filters)
                if kept is not None:
                    without.discard(chosen)
                    yield sample, kept
    raise FourDHumansError(f"nobody of the data set '{data_set.name}' passes the filters")


class ValidationCrops(Dataset[dict[str, Any]]):
    """The first people of the data sets that pass the filters, as they are; their pictures are kept compressed.

    An item also holds its `index`. most: how many people at most.
    Raises: FourDHumansError where nobody passes the filters.
    """

    def __init__(self, data_sets: Sequence[DataSet], filters: Filters, most: int, *, widen: bool = True) -> None:
        self.settings = Augmentation(widen=widen)
        self.people: list[Person] = []
        for data_set in data_sets:
            of_this = list(self._first(data_set, filters, -(-most // len(data_sets))))
            self.people += of_this
        if not self.people:
            raise FourDHumansError("nobody of the data to validate on passes the filters")

    @staticmethod
    def _first(data_set: DataSet, filters: Filters, most: int) -> Iterator[Person]:
        count = 0
        for sample in data_set.samples():
            for person in sample.people:
                kept = filter_person(person, filters)
                if kept is not None:
                    yield sample, kept
                    count += 1
                    if count == most:
                        return

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample, person = self.people[index]
        return cut_out(person, sample.decode_image(), Draw(), self.settings) | {"index": torch.tensor(index)}
