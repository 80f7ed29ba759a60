// One step of Newton's method for the logistic regression, in a fixed order: equal rows give equal bits.

/** Moves the coefficients towards the maximum of the likelihood over rows [1, x…, y]. Returns the greatest relative change
 * of one. */
export function improve(coefficients, rows) {
  const { matrix, gradient } = derivatives(coefficients, rows);
  let change = 0;
  for (const [place, step] of solve(matrix, gradient).entries()) {
    change = Math.max(change, Math.abs(step) / (1e-9 + Math.abs(coefficients[place])));
    coefficients[place] += step;
  }
  return change;
}

/** The information matrix, and the gradient. */
function derivatives(coefficients, rows) {
  const width = coefficients.length;
  const matrix = coefficients.map(() => Array(width).fill(0));
  const gradient = Array(width).fill(0);
  for (const row of rows) {
    let score = 0;
    for (let i = 0; i < width; i++) score += coefficients[i] * row[i];
    const e = expOfNegative(-Math.abs(score));
    const [more, less] = [1 / (1 + e), e / (1 + e)];
    const error = row[width] - (score < 0 ? less : more);
    for (let i = 0; i < width; i++) {
      const weight = row[i] * more * less;
      gradient[i] += row[i] * error;
      for (let j = 0; j < width; j++) matrix[i][j] += weight * row[j];
    }
  }
  return { matrix, gradient };
}

/** Gauss-Jordan elimination; a matrix that is symmetric and positive definite needs no pivots. */
function solve(matrix, values) {
  const scale = matrix.map((line, i) => line[i]);
  for (let i = 0; i < values.length; i++) {
    if (!(matrix[i][i] > 1e-13 * scale[i])) throw new Error("no single answer: a column depends on those before it");
    for (let r = 0; r < values.length; r++) {
      if (r === i) continue;
      const factor = matrix[r][i] / matrix[i][i];
      for (let c = i; c < values.length; c++) matrix[r][c] -= factor * matrix[i][c];
      values[r] -= factor * values[i];
    }
  }
  return values.map((value, i) => value / matrix[i][i]);
}

/** e^x for x <= 0, which Math.exp gives to the last bit or not, as its engine has it: x = k ln 2 + r with |r| <= ln 2 / 2
 * (ln 2 in two parts), then Taylor's series of degree 14. Relative error under 1e-15. */
function expOfNegative(x) {
  if (x < -700) return 0;
  const k = Math.trunc(x / 0.6931471805599453 - 0.5);
  const r = x - k * 0.6931471803691238 - k * 1.9082149292705877e-10;
  let total = 1;
  for (let i = 14; i > 0; i--) total = 1 + (total * r) / i;
  return total * 2 ** k;
}
