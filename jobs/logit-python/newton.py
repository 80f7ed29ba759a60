"""One step of Newton's method for the logistic regression, in floats and in a fixed order: equal rows give equal bits."""

from math import ldexp


def improve(coefficients, rows):
    """Moves the coefficients towards the maximum of the likelihood over rows [1, x…, y]. Returns the greatest relative
    change of one."""
    steps = solve(*derivatives(coefficients, rows))
    change = 0.0
    for place, step in enumerate(steps):
        change = max(change, abs(step) / (1e-9 + abs(coefficients[place])))
        coefficients[place] += step
    return change


def derivatives(coefficients, rows):
    """The information matrix, and the gradient."""
    width = range(len(coefficients))
    matrix = [[0.0] * len(coefficients) for _ in width]
    gradient = [0.0] * len(coefficients)
    for *x, y in rows:
        # Not sum(), which adds floats in another way from Python 3.12 on.
        score = 0.0
        for coefficient, value in zip(coefficients, x):
            score += coefficient * value
        e = exp_of_negative(-abs(score))
        more, less = 1 / (1 + e), e / (1 + e)
        error = y - (less if score < 0 else more)
        for i in width:
            weight = x[i] * more * less
            gradient[i] += x[i] * error
            line = matrix[i]
            for j in width:
                line[j] += weight * x[j]
    return matrix, gradient


def solve(matrix, values):
    """Gauss-Jordan elimination; a matrix that is symmetric and positive definite needs no pivots."""
    scale = [matrix[i][i] for i in range(len(values))]
    for i in range(len(values)):
        if not matrix[i][i] > 1e-13 * scale[i]:
            raise ValueError("no single answer: a column depends on those before it")
        for r in range(len(values)):
            if r != i:
                factor = matrix[r][i] / matrix[i][i]
                for c in range(i, len(values)):
                    matrix[r][c] -= factor * matrix[i][c]
                values[r] -= factor * values[i]
    return [values[i] / matrix[i][i] for i in range(len(values))]


def exp_of_negative(x):
    """e^x for x <= 0, which math.exp gives to the last bit or not, as its C library has it: x = k ln 2 + r with
    |r| <= ln 2 / 2 (ln 2 in two parts), then Taylor's series of degree 14. Relative error under 1e-15."""
    if x < -700:
        return 0.0
    k = int(x / 0.6931471805599453 - 0.5)
    r = (x - k * float.fromhex("0x1.62e42feep-1")) - k * float.fromhex("0x1.a39ef35793c76p-33")
    total = 1.0
    for i in range(14, 0, -1):
        total = 1 + total * r / i
    return ldexp(total, k)
