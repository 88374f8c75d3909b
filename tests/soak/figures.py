"""The figures of a run and what they have to be: memory by the age of a process, latencies by the minute."""

import statistics
from dataclasses import dataclass, field

# At most, as the share of the former size, and as a multiple of the median minute's.
GROWTH, SPREAD = 0.05, 2
# A minute in which the machine ran the checker itself later than this, at the 99th percentile, says nothing of the nodes.
LATE_S = 0.1
# Of fewer samples the 99th percentile says nothing.
FEWEST = 30
# Of a process's life, in slots: in these its caches and its allocator fill.
WARM_UP = 2


def percentile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


@dataclass
class Life:
    """One process of a node, with samples of its memory as (age in seconds, bytes)."""

    node: str
    began: float
    samples: list = field(default_factory=list)

    def slots(self, length):
        """The median memory at each age, in slots of this length that were lived almost to their end."""
        found = {}
        for age, size in self.samples:
            found.setdefault(int(age // length), []).append((age, size))
        return {slot: statistics.median(size for _, size in samples) for slot, samples in found.items()
                if samples[-1][0] >= (slot + 0.9) * length}


def growth(lives, length):
    """By how much the last process is larger than the first at the same age, for each age behind the warm-up that several reached; and by
    how much the process that lived longest grew from its warm-up to its end, None if no process lived long enough."""
    by_age = {}
    for life in lives:
        for slot, size in life.slots(length).items():
            if slot >= WARM_UP - 1:
                by_age.setdefault(slot, []).append(size)
    between = {slot: sizes[-1] / sizes[0] - 1 for slot, sizes in sorted(by_age.items()) if len(sizes) > 1}
    oldest = max((life.slots(length) for life in lives), key=len, default={})
    within = oldest[max(oldest)] / oldest[WARM_UP] - 1 if len(oldest) > WARM_UP + 1 else None
    return between, within


def minutes(samples, faults=(), grace=0, busy=()):
    """The values of (begun, ended, value) by the minute in which they began, without those that a fault fell into, or the seconds of
    `grace` after it. Minutes in which the machine was busy count only if fewer than two others are left."""
    found = {}
    for begun, ended, value in samples:
        if not any(begun <= until + grace and since <= ended for _, since, until in faults):
            found.setdefault(int(begun // 60), []).append(value)
    whole = {minute: values for minute, values in sorted(found.items()) if len(values) >= FEWEST}
    idle = {minute: values for minute, values in whole.items() if minute not in busy}
    return idle if len(idle) > 1 else whole


def busy(late):
    """The minutes in which the machine was busy with something else."""
    return {minute for minute, values in minutes(late).items() if percentile(values, 0.99) > LATE_S}


def spread(quiet):
    """The 99th percentile of the worst minute as a multiple of the median minute's; None without two minutes."""
    highest = [percentile(values, 0.99) for values in quiet.values()]
    return max(highest) / statistics.median(highest) if len(highest) > 1 else None


def verdict(between, within, spreads):
    """What is not as it has to be, as text. What could not be measured is wrong too."""
    if within is None or not between:
        yield "no two processes lived long enough for their memory to be compared"
    for slot, grown in between.items():
        if grown > GROWTH:
            yield f"memory: the last process is {grown:+.1%} larger than the first at the same age, slot {slot}"
    if within is not None and within > GROWTH:
        yield f"memory: a process grew by {within:+.1%} from its warm-up to its end"
    for name, found in spreads.items():
        if found is None:
            yield f"{name}: fewer than two quiet minutes with {FEWEST} samples"
        elif found > SPREAD:
            yield f"{name}: the worst minute's p99 is {found:.2f} times the median minute's"
