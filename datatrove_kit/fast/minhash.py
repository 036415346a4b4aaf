"""Stage 1 of MinHash with the same signatures as DataTrove's, many times faster."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
from datatrove.data import DocumentsPipeline
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.utils.batching import batched
from datatrove.utils.hashes.xxhash import xxhash64
from datatrove.utils.hashing import create_hash_func
from datatrove.utils.text import simplify_text
from datatrove.utils.typeshelper import StatHints
from xxhash import xxh64_intdigest

from datatrove_kit.fast.words import REMEMBERED

MERSENNE_PRIME = np.uint64(2**61 - 1)
# Shingles that are hashed at a time: what 112 hashes of them take fits a processor's cache.
BLOCK = 256
# Documents whose words are split, then hashed, then written: each step finds its data in the cache.
BATCH = 512


class FastMinhashSignature(MinhashDedupSignature):
    """Stage 1 of MinHash that writes the files that DataTrove's own stage 1 writes, byte for byte.

    It remembers the normalized words of each piece of text, cuts the shingles out of one string of
    bytes, divides by the Mersenne prime with a shift, and writes many documents at a time.

    Pieces are what ``str.split`` gives. Neither does simplify_text reach over a blank, nor spaCy,
    whose special cases of several English words all have punctuation, which is removed before.
    """

    def run(self, data: DocumentsPipeline, rank: int = 0, world_size: int = 1) -> None:
        hash_bytes = create_hash_func(self.config.hash_config, bytes)
        # DataTrove's function for 64 bits calls this one.
        self._hash_bytes = xxh64_intdigest if hash_bytes is xxhash64 else hash_bytes
        self._normalized: dict[str, bytes] = {}
        self._data = data
        super().run(None, rank, world_size)
        del self._data, self._normalized

    def _learn(self, pieces: list[str]) -> None:
        missing = set(pieces).difference(self._normalized)
        if len(self._normalized) + len(missing) > REMEMBERED:
            self._normalized.clear()
            missing = set(pieces)
        # It keeps line breaks if told so, but not those at the ends.
        config = replace(self.config.norm_config, norm_whitespace=False)
        lines = simplify_text("\n".join(["x", *missing, "x"]), config).split("\n")[1:-1]
        lines = "\n".join(" ".join(line.split()) for line in lines)
        words = " ".join(token.text for token in self.word_tokenizer.tokenizer.tokenizer(lines))
        parts = (part.strip().encode() for part in words.split("\n"))
        self._normalized.update(zip(missing, parts, strict=True))

    def get_shingles(self, text: str) -> np.ndarray:
        if not self.config.norm_config.remove_punctuation:
            return super().get_shingles(text)
        pieces, hash_bytes = text.split(), self._hash_bytes
        found = list(map(self._normalized.get, pieces))
        if None in found:
            self._learn(pieces)
            found = list(map(self._normalized.get, pieces))
        words = b" %b " % b" ".join(filter(None, found))
        blanks = np.flatnonzero(np.frombuffer(words, np.uint8) == ord(" "))
        starts, ends = (blanks + 1).tolist(), blanks[self.config.n_grams :].tolist()
        hashes = [hash_bytes(words[i:j]) for i, j in zip(starts, ends, strict=False)]
        return np.array(hashes, dtype=np.uint64).reshape(-1, 1)

    def get_signature(self, shingles: np.ndarray) -> np.ndarray:
        """The smallest hash of all shingles for each hash function; buckets x hashes."""
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
        return np.min(lowest, axis=0).reshape(self.config.num_buckets, -1)

    def check_can_skip_sig_writing(self, rank: int) -> tuple[bool, int]:
        """Writes the signatures if they are not there, and leaves only the sorting to be done."""
        done, documents = super().check_can_skip_sig_writing(rank)
        return True, documents if done else self._write(rank)

    def _write(self, rank: int) -> int:
        """Write the signatures of all documents unsorted, and return their number."""
        width, struct_format = self.config.hashes_per_bucket, self.config.hash_config.struct_format
        record = np.dtype([("signature", f"<{struct_format}", (width,)), ("place", "<u4")])
        names = [f"bucket_{i:03d}/{rank:05d}.minhash.sig" for i in range(self.config.num_buckets)]
        written = 0
        with ExitStack() as stack:
            files = [stack.enter_context(self.output_folder.open(name, "wb")) for name in names]
            for batch in batched(enumerate(self._data), BATCH):
                shingles = []
                for place, doc in batch:
                    self.stat_update(StatHints.total)
                    if (found := self.get_shingles(doc.text)).size:
                        shingles.append((place, found))
                records = np.empty((len(files), len(shingles)), record)
                for i, (place, found) in enumerate(shingles):
                    records["signature"][:, i] = self.get_signature(found)
                    records["place"][:, i] = place
                for file, of_bucket in zip(files, records, strict=True):
                    file.write(of_bucket.tobytes())
                written += len(shingles)
        return written
