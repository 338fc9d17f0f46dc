"""64 seed sets propagated through one world, one bit each, by compiled code.

Nodes are numbered group by group here, so that a count per group is a slice. Levels of a search are
either *dense*, every live arc once (``new[v] |= old[u]``), or *sparse*, the arcs of what the last
level activated; the cheaper one is taken level by level. Without a step limit, and where steps do
not matter, only reachability does: every arc between strong components is passed once, in
topological order.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from .condensation import jit

_U = np.uint64
_PLANES = 32  # bits of a count
_SPREAD = np.array(
    [sum(1 << (8 * j) for j in range(8) if byte >> j & 1) for byte in range(256)], dtype=np.uint64
)
_SPARSE = 8  # how many times dearer an arc is in a sparse level


@jit
def _add(planes, bits):
    """Count one more wherever a bit is set; plane j holds bit j of all 64 counts."""
    j = 0
    while bits:
        carry = planes[j] & bits
        planes[j] ^= bits
        bits = carry
        j += 1


@jit
def _write(planes, out, first):
    """The 64 counts of the planes, which are cleared, into ``out[first : first + 64]``."""
    used = _PLANES
    while used and not planes[used - 1]:
        used -= 1
    for byte in range(8):
        shift = _U(8 * byte)
        low, high = _U(0), _U(0)
        for j in range(min(used, 8)):
            low |= _SPREAD[(planes[j] >> shift) & _U(255)] << _U(j)
        for j in range(8, min(used, 16)):
            high |= _SPREAD[(planes[j] >> shift) & _U(255)] << _U(j - 8)
        for lane in range(8):
            place = _U(8 * lane)
            value = ((low >> place) & _U(255)) | (((high >> place) & _U(255)) << _U(8))
            for j in range(16, used):
                value |= ((planes[j] >> (shift + _U(lane))) & _U(1)) << _U(j)
            out[first + 8 * byte + lane] = np.int32(value)
    for j in range(used):
        planes[j] = _U(0)


@jit
def _count(active, bounds, planes, out, first):
    """Set bits per group, 64 counts each, into ``out[group, first:]``; ``active`` is cleared.

    Eight words at a time go through carry-save adders (Harley-Seal).
    """
    for group in range(len(bounds) - 1):
        node, last = nb.uintp(bounds[group]), nb.uintp(bounds[group + 1])
        ones, twos, fours = _U(0), _U(0), _U(0)
        while node + nb.uintp(8) <= last:
            a, b = active[node], active[node + nb.uintp(1)]
            c, d = active[node + nb.uintp(2)], active[node + nb.uintp(3)]
            e, f = active[node + nb.uintp(4)], active[node + nb.uintp(5)]
            g, h = active[node + nb.uintp(6)], active[node + nb.uintp(7)]
            node += nb.uintp(8)
            half = ones ^ a
            two_a = (ones & a) | (half & b)
            ones = half ^ b
            half = ones ^ c
            two_b = (ones & c) | (half & d)
            ones = half ^ d
            half = twos ^ two_a
            four_a = (twos & two_a) | (half & two_b)
            twos = half ^ two_b
            half = ones ^ e
            two_a = (ones & e) | (half & f)
            ones = half ^ f
            half = ones ^ g
            two_b = (ones & g) | (half & h)
            ones = half ^ h
            half = twos ^ two_a
            four_b = (twos & two_a) | (half & two_b)
            twos = half ^ two_b
            half = fours ^ four_a
            eight = (fours & four_a) | (half & four_b)
            fours = half ^ four_b
            _add(planes[3:], eight)
        planes[0], planes[1], planes[2] = ones, twos, fours
        while node < last:
            _add(planes, active[node])
            node += nb.uintp(1)
        _write(planes, out[group], first)
    active[:] = _U(0)


@jit
def _count_few(touched, active, group_of, planes, out, first):
    """The same where only ``touched`` nodes have bits; planes are (groups, 32)."""
    for i in range(len(touched)):
        node = nb.uintp(touched[i])
        _add(planes[group_of[node]], active[node])
        active[node] = _U(0)
    for group in range(len(planes)):
        _write(planes[group], out[group], first)


@jit
def levels(starts, tails, heads, nodes, words, limit, bounds, group_of, scratch, out, steps, first):
    """One word of seed sets through one world: counts per group, and steps of each set.

    ``starts``, ``tails`` and ``heads`` come from :func:`.condensation.by_source`; ``nodes`` (s,)
    are the seeds, each once, and ``words`` (s,) tell which of the 64 sets hold them. ``bounds``
    (g + 1,) holds the first node of every group, and n; ``group_of`` (n,) the group of every node.
    Counts go to ``out[:, first : first + 64]``, (g, 64 K), and steps to ``steps``, (64 K,).
    """
    active, other, fresh, now, then, touched, planes, tally = scratch
    n, m = len(active), len(heads)
    held, ahead, seen, sparse = 0, 0, 0, True
    for i in range(len(nodes)):
        if words[i]:
            node = nb.uintp(nodes[i])
            active[node] = fresh[node] = words[i]
            now[held] = touched[held] = node
            held += 1
            ahead += starts[node + nb.uintp(1)] - starts[node]
    seen = held
    level, listed = 0, True
    while level < limit and ahead:
        level += 1
        alive = _U(0)
        if listed and ahead * _SPARSE < m + n // 4:
            count, ahead = 0, 0
            for i in range(held):
                node = nb.uintp(now[i])
                bits = fresh[node]
                fresh[node] = _U(0)
                for arc in range(nb.uintp(starts[node]), nb.uintp(starts[node + nb.uintp(1)])):
                    head = nb.uintp(heads[arc])
                    had = active[head]
                    new = bits & ~had
                    active[head] = had | new
                    alive |= new
                    touched[seen] = head
                    seen += (had == _U(0)) & (new != _U(0))
                    waiting = other[head]
                    other[head] = waiting | new
                    then[count] = head
                    count += (waiting == _U(0)) & (new != _U(0))
            for i in range(count):
                node = nb.uintp(then[i])
                ahead += starts[node + nb.uintp(1)] - starts[node]
            fresh, other = other, fresh
            now, then = then, now
            held = count
        else:
            sparse = False
            if listed:
                for i in range(held):
                    fresh[nb.uintp(now[i])] = _U(0)
            listed = False
            other[:] = active
            for arc in range(m):
                other[nb.uintp(heads[arc])] |= active[nb.uintp(tails[arc])]
            changed = _U(0)
            for node in range(n):
                new = other[node] ^ active[node]
                alive |= new
                changed += _U(new != _U(0))
            ahead = np.int64(changed) * m // n + np.int64(changed > _U(0))
            if ahead * _SPARSE < m + n // 4:
                listed, held, ahead = True, 0, 0
                for node in range(n):
                    new = other[node] ^ active[node]
                    if new:
                        fresh[node] = new
                        now[held] = node
                        held += 1
                        ahead += starts[node + 1] - starts[node]
            active, other = other, active
            other[:] = _U(0)
        _add(planes, alive)
    if listed:
        for i in range(held):
            fresh[nb.uintp(now[i])] = _U(0)
    _write(planes, steps, first)
    if sparse and seen * 16 < n:
        _count_few(touched[:seen], active, group_of, tally, out, first)
    else:
        _count(active, bounds, planes, out, first)


@jit
def reached(component, tails, heads, nodes, words, bounds, scratch, out, first):
    """Counts of :func:`levels` without a limit, over :func:`components` and arcs between them."""
    active, other, _, _, _, _, planes, _ = scratch
    for i in range(len(nodes)):
        other[component[nb.uintp(nodes[i])]] |= words[i]
    for arc in range(len(heads)):
        other[nb.uintp(heads[arc])] |= other[nb.uintp(tails[arc])]
    for node in range(len(active)):
        active[node] = other[nb.uintp(component[node])]
    other[:] = _U(0)
    _count(active, bounds, planes, out, first)


@jit
def persuaded(
    starts, heads, need, offset, counters, nodes, words, limit, bounds, scratch, out, steps, first
):
    """One word of seed sets under thresholds: counts per group, and steps of each set.

    A node keeps a counter of active neighbours for each of 64 sets, bit j of all in one word. It
    begins ``need`` below overflow, so that what is carried out of it is activated.

    ``starts`` and ``heads`` are all arcs by source; ``need`` (n,) is how many active in-neighbours
    activate a node, at least 1; ``offset`` (n + 1,) is the first word of every counter, which has
    as many bits as hold ``need``; ``counters`` (offset[n],) is room for them. The rest is as for
    :func:`levels`.
    """
    active, other, fresh, now, then, _, planes, _ = scratch
    for node in range(len(active)):
        bits = offset[node + 1] - offset[node]
        begin = (np.int64(1) << bits) - need[node]
        for j in range(bits):
            counters[offset[node] + j] = _U(0) - _U((begin >> j) & 1)
    held = 0
    for i in range(len(nodes)):
        if words[i]:
            node = nb.uintp(nodes[i])
            active[node] = fresh[node] = words[i]
            now[held] = node
            held += 1
    level = 0
    while level < limit and held:
        level += 1
        alive, count = _U(0), 0
        for i in range(held):
            node = nb.uintp(now[i])
            told = fresh[node]
            fresh[node] = _U(0)
            for arc in range(nb.uintp(starts[node]), nb.uintp(starts[node + nb.uintp(1)])):
                head = nb.uintp(heads[arc])
                carry = told & ~active[head]
                place, last = offset[head], offset[head + nb.uintp(1)]
                while carry and place < last:
                    high = counters[place] & carry
                    counters[place] ^= carry
                    carry = high
                    place += 1
                if carry:
                    if not other[head]:
                        then[count] = head
                        count += 1
                    other[head] |= carry
        for i in range(count):
            node = nb.uintp(then[i])
            new = other[node] & ~active[node]
            active[node] |= new
            alive |= new
            other[node] = new
        fresh, other = other, fresh
        now, then = then, now
        held = count
        _add(planes, alive)
    for i in range(held):
        fresh[nb.uintp(now[i])] = _U(0)
    _write(planes, steps, first)
    _count(active, bounds, planes, out, first)


@jit
def divergences(active, own, sizes, out):
    """Jensen-Shannon divergence between shares of groups served and equal ones, in nats.

    ``active`` (W, g, P) counts active nodes, ``own`` (c, P) seeds of the first c groups, of
    ``sizes`` (c,). Writes to ``out`` (W, P); -1 where nobody but seeds is active. A share that is
    0 needs no logarithm, the others one for the middle; r ln r is looked up by count.
    """
    groups, sets = own.shape
    equal = 1.0 / groups
    empty = 0.5 * equal * np.log(0.5 * equal)
    first = np.zeros(groups + 1, np.int64)
    for group in range(groups):
        first[group + 1] = first[group] + sizes[group] + 1
    known = np.zeros(first[groups])
    for group in range(groups):
        for count in range(1, sizes[group] + 1):
            rate = count / sizes[group]
            known[first[group] + count] = rate * np.log(rate)
    total, rated, mixed = np.empty(sets), np.empty(sets), np.empty(sets)
    for world in range(len(active)):
        total[:] = 0.0
        rated[:] = 0.0
        mixed[:] = 0.0
        for group in range(groups):
            each = 1.0 / sizes[group]
            for p in range(sets):
                count = active[world, group, p] - own[group, p]
                total[p] += count * each
                rated[p] += known[first[group] + count]
        for group in range(groups):
            each = 0.5 / sizes[group]
            for p in range(sets):
                count = active[world, group, p] - own[group, p]
                if count:
                    middle = count * each / total[p] + 0.5 * equal
                    mixed[p] += middle * np.log(middle)
                else:
                    mixed[p] += empty
        for p in range(sets):
            if total[p] > 0:
                shares = rated[p] / total[p] - np.log(total[p])
                out[world, p] = max(0.5 * (shares + np.log(equal)) - mixed[p], 0.0)
            else:
                out[world, p] = -1.0


def scratch(n: int, groups: int) -> tuple[NDArray[Any], ...]:
    """Buffers of one thread, all zero between calls."""
    words = [np.zeros(n, np.uint64) for _ in range(3)]
    lists = [np.zeros(n + 1, np.uint32) for _ in range(3)]
    return *words, *lists, np.zeros(_PLANES, np.uint64), np.zeros((groups, _PLANES), np.uint64)
