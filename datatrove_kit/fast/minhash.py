"""Stage 1 of MinHash with the same signatures as DataTrove's, many times faster."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from itertools import chain

import numpy as np
from datatrove.data import Document, DocumentsPipeline
from datatrove.io import DataFolderLike
from datatrove.pipeline.dedup import MinhashConfig, MinhashDedupSignature
from datatrove.utils.batching import batched
from datatrove.utils.hashes.xxhash import xxhash64
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.text import simplify_text
from datatrove.utils.typeshelper import Languages, StatHints
from xxhash import xxh64_intdigest

from datatrove_kit.fast.words import REMEMBERED, PieceTokenizer

MERSENNE_PRIME = np.uint64(2**61 - 1)
# Shingles that are hashed at a time: what 112 hashes of them take fits a processor's cache.
BLOCK = 256
# Documents that are written at a time.
BATCH = 512


class FastMinhashSignature(MinhashDedupSignature):
    """Stage 1 of MinHash that writes the files that DataTrove's own stage 1 writes, byte for byte.

    It remembers the normalized words of each piece of text, cuts the shingles out of one string of
    bytes, takes the remainder of the Mersenne prime 2^61 - 1 by a shift and an addition instead of
    a division, and writes many documents at a time. The other stages take its files as they are.

    Args:
        output_folder, config, language, skip_existing_sigs: as of MinhashDedupSignature.

    Raises ValueError for a language whose words PieceTokenizer does not split.
    """

    def __init__(
        self,
        output_folder: DataFolderLike,
        config: MinhashConfig | None = None,
        language: str = Languages.english,
        skip_existing_sigs: bool = False,
    ):
        super().__init__(output_folder, config, PieceTokenizer(language), skip_existing_sigs)
        self._hash_bytes = create_hash_func(self.config.hash_config, bytes)
        if self._hash_bytes is xxhash64:
            self._hash_bytes = xxh64_intdigest  # the same, without a call in between
        #: Normalized words of each piece of text, joined by blanks, in UTF-8.
        self._normalized: dict[str, bytes] = {}
        #: Pieces whose words may depend on what is beside them.
        self._dependent: set[str] = set()

    def __getstate__(self):
        return {**self.__dict__, "_normalized": {}, "_dependent": set()}

    def _learn(self, pieces: list[str]) -> None:
        missing = set(pieces).difference(self._normalized)
        if len(self._normalized) + len(missing) > REMEMBERED:
            self._normalized.clear()
            self._dependent.clear()
            missing = set(pieces)
        # Nothing that simplify_text does reaches over a blank. It keeps line breaks if told so, but
        # not those at the ends.
        config = replace(self.config.norm_config, norm_whitespace=False)
        lines = simplify_text("\n".join(["x", *missing, "x"]), config).split("\n")[1:-1]
        parts = [line.split() for line in lines]
        split = self.word_tokenizer
        split.look_up(list(chain.from_iterable(parts)))
        for piece, simple in zip(missing, parts, strict=True):
            words = [split.alone(part) for part in simple]
            if None in words:
                self._dependent.add(piece)
                words = ()
            self._normalized[piece] = " ".join(chain.from_iterable(words)).encode()

    def _words(self, text: str) -> bytes | None:
        """The normalized words of a text, each with a blank before and after it."""
        pieces = text.split()
        try:
            found = list(map(self._normalized.__getitem__, pieces))
        except KeyError:
            self._learn(pieces)
            found = list(map(self._normalized.__getitem__, pieces))
        if self._dependent and not self._dependent.isdisjoint(pieces):
            return None
        return b" %b " % b" ".join(filter(None, found))

    def get_shingles(self, text: str) -> np.ndarray:
        words = self._words(text)
        if words is None:
            return super().get_shingles(text)
        blanks = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
        starts, ends = (blanks + 1).tolist(), blanks[self.config.n_grams :].tolist()
        hash_bytes = self._hash_bytes
        hashes = [hash_bytes(words[i:j]) for i, j in zip(starts, ends, strict=False)]
        return np.array(hashes, dtype=np.uint64).reshape(-1, 1)

    def _signature(self, shingles: np.ndarray) -> np.ndarray:
        """The smallest hash of all shingles for each hash function, uint64 or uint32."""
        a, b = self.parameters
        lowest = []
        for start in range(0, len(shingles), BLOCK):
            values = shingles[start : start + BLOCK] * a
            values += b
            high = values >> np.uint64(61)
            values &= MERSENNE_PRIME
            values += high
            if values.max() >= MERSENNE_PRIME:  # by 7 at most, once in 10^17 times
                values %= MERSENNE_PRIME
            if self.config.hash_config.precision == 32:
                values &= np.uint64(self.config.hash_config.max)
            lowest.append(values.min(axis=0))
        return np.min(lowest, axis=0).astype(self.config.hash_config.np_dtype)

    def get_signature(self, shingles: np.ndarray) -> list[list[int]]:
        return self._signature(shingles).reshape(self.config.num_buckets, -1).tolist()

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        self._data = data
        super().run(None, rank, world_size)
        del self._data  # cannot be pickled

    def check_can_skip_sig_writing(self, rank: int) -> tuple[bool, int]:
        """Writes the signatures if they are not there, and leaves only the sorting to be done."""
        done, documents = super().check_can_skip_sig_writing(rank)
        return True, documents if done else self._write(rank)

    def _write(self, rank: int) -> int:
        """Write the signatures of all documents unsorted, and return their number."""
        width, config = self.config.hashes_per_bucket, self.config.hash_config
        record = np.dtype([("signature", f"<{config.struct_format}", (width,)), ("place", "<u4")])
        written = 0
        with ExitStack() as stack:
            files = [
                stack.enter_context(
                    self.output_folder.open(f"bucket_{bucket:03d}/{rank:05d}.minhash.sig", "wb")
                )
                for bucket in range(self.config.num_buckets)
            ]
            # First the words of all, then the numbers of all: each finds its data in the cache.
            for batch in batched(enumerate(self._data), BATCH):
                shingles = [(place, self._count(doc)) for place, doc in batch]
                shingles = [(place, found) for place, found in shingles if found.size]
                signatures = [self._signature(found) for _, found in shingles]
                signatures = np.array(signatures).reshape(len(shingles), len(files), width)
                records = np.empty(len(shingles), record)
                records["place"] = [place for place, _ in shingles]
                for bucket, file in enumerate(files):
                    records["signature"] = signatures[:, bucket]
                    file.write(records.tobytes())
                written += len(shingles)
        return written

    def _count(self, doc: Document) -> np.ndarray:
        self.stat_update(StatHints.total)
        return self.get_shingles(doc.text)
