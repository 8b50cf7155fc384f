"""The loops of colouring: flat and scalar, for Python's lists and for numba alike.

A graph comes as pointers and neighbours. In that of columns two are neighbours if a row has both: it is walked as
column, row, column, and never formed. `mark` and `forbidden` hold the step at which an entry was last set, so that they
need no clearing.
"""

from __future__ import annotations

from typing import Any


def smallest_last(
    column_start: Any,
    column_rows: Any,
    row_start: Any,
    row_columns: Any,
    degree: Any,
    mark: Any,
    head: Any,
    after: Any,
    before: Any,
    order: Any,
) -> None:
    """Order columns so that each has the fewest neighbours among those that come before it (Matula and Beck 1983).

    `degree`, `mark`, `after`, `before` are -1 and as long as `order`, `head` is longer by one.
    """
    n = len(order)
    for j in range(n):
        count = 0
        mark[j] = j
        for a in range(column_start[j], column_start[j + 1]):
            i = column_rows[a]
            for b in range(row_start[i], row_start[i + 1]):
                k = row_columns[b]
                if mark[k] != j:
                    mark[k] = j
                    count += 1
        degree[j] = count
    for j in range(n):
        d = degree[j]
        after[j] = head[d]
        if head[d] >= 0:
            before[head[d]] = j
        head[d] = j
        mark[j] = -1
    least = 0
    for t in range(n - 1, -1, -1):
        while head[least] < 0:
            least += 1
        j = head[least]
        head[least] = after[j]
        if after[j] >= 0:
            before[after[j]] = -1
        degree[j] = -1  # done
        order[t] = j
        for a in range(column_start[j], column_start[j + 1]):
            i = column_rows[a]
            for b in range(row_start[i], row_start[i + 1]):
                k = row_columns[b]
                d = degree[k]
                if d < 0 or mark[k] == t:
                    continue
                mark[k] = t
                if before[k] >= 0:
                    after[before[k]] = after[k]
                else:
                    head[d] = after[k]
                if after[k] >= 0:
                    before[after[k]] = before[k]
                d -= 1
                degree[k] = d
                before[k] = -1
                after[k] = head[d]
                if head[d] >= 0:
                    before[head[d]] = k
                head[d] = k
                if d < least:
                    least = d


def greedy(
    column_start: Any,
    column_rows: Any,
    row_start: Any,
    row_columns: Any,
    order: Any,
    limit: Any,
    color: Any,
    forbidden: Any,
) -> Any:
    """Give each column in turn the first colour that none of its neighbours has; return how many there are.

    Left unfinished where that comes to `limit`. `color` and `forbidden` are -1; the latter is longer by one.
    """
    most = 0
    for t in range(len(order)):
        j = order[t]
        for a in range(column_start[j], column_start[j + 1]):
            i = column_rows[a]
            for b in range(row_start[i], row_start[i + 1]):
                c = color[row_columns[b]]
                if c >= 0:
                    forbidden[c] = t
        c = 0
        while forbidden[c] == t:
            c += 1
        color[j] = c
        if c >= most:
            most = c + 1
            if most >= limit:
                break
    return most


def star(start: Any, neighbors: Any, order: Any, limit: Any, color: Any, forbidden: Any) -> Any:
    """Color a graph so that neighbours differ, and every path of four vertices has three colours.

    Algorithm 4.1 of Gebremedhin, Tarafdar, Manne and Pothen (2007, SIAM J. Sci. Comput. 29, 1042). The coloured
    neighbours of an uncoloured vertex have different colours throughout. Returns and arguments as of `greedy`.
    """
    most = 0
    for t in range(len(order)):
        v = order[t]
        for a in range(start[v], start[v + 1]):
            w = neighbors[a]
            if w == v:
                continue
            if color[w] >= 0:
                forbidden[color[w]] = t
            for b in range(start[w], start[w + 1]):
                x = neighbors[b]
                if x in (w, v) or color[x] < 0 or forbidden[color[x]] == t:
                    continue
                if color[w] < 0:
                    forbidden[color[x]] = t
                    continue
                for c in range(start[x], start[x + 1]):
                    y = neighbors[c]
                    if y != x and y != w and color[y] == color[w]:
                        forbidden[color[x]] = t
                        break
        c = 0
        while forbidden[c] == t:
            c += 1
        color[v] = c
        if c >= most:
            most = c + 1
            if most >= limit:
                break
    return most
