//! Which values an integer can have: arithmetic that may leave 64 bits is refused before a record is read, as the engine would
//! wrap around without a word.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::scalar::ScalarValue;

use crate::check::{QueryRefusal, brief};

/// Smallest and greatest value.
pub type Range = (i128, i128);

/// Of all integers that there are.
const ALL: Range = (i64::MIN as i128, i64::MAX as i128);
/// Records of one run, at most.
const MAX_RECORDS: i128 = u32::MAX as i128;

/// The ranges of the columns of one step of a plan, by place.
struct Columns<'a> {
    schema: &'a DFSchema,
    ranges: Vec<Range>,
}

/// Checks all arithmetic of a plan over a table whose columns have these ranges.
pub fn check(plan: &LogicalPlan, table: &[Range]) -> Result<(), QueryRefusal> {
    of_step(plan, table).map(drop)
}

fn of_step<'a>(plan: &'a LogicalPlan, table: &[Range]) -> Result<Columns<'a>, QueryRefusal> {
    let schema = plan.schema().as_ref();
    let ranges = match plan {
        LogicalPlan::TableScan(_) => table.to_vec(),
        LogicalPlan::Aggregate(aggregate) => of_grouping(aggregate, table)?,
        LogicalPlan::Projection(projection) => {
            let input = of_step(&projection.input, table)?;
            let ranges = projection.expr.iter().map(|part| input.range(part));
            ranges.collect::<Result<_, _>>()?
        }
        other => {
            let [input] = other.inputs()[..] else {
                return Err(QueryRefusal::Forbidden("a step of two inputs".into()));
            };
            let input = of_step(input, table)?;
            for part in other.expressions() {
                input.range(&part)?;
            }
            input.ranges
        }
    };
    Ok(Columns { schema, ranges })
}

fn of_grouping(aggregate: &Aggregate, table: &[Range]) -> Result<Vec<Range>, QueryRefusal> {
    let input = of_step(&aggregate.input, table)?;
    let groups = aggregate.group_expr.iter().map(|group| input.range(group));
    let figures = aggregate.aggr_expr.iter().map(|figure| {
        let figure = match figure {
            Expr::Alias(alias) => alias.expr.as_ref(),
            figure => figure,
        };
        let Expr::AggregateFunction(function) = figure else {
            return Ok(ALL);
        };
        Ok(match (function.func.name(), &function.params.args[..]) {
            ("count", _) => (0, MAX_RECORDS),
            ("sum", [column]) => {
                let (low, high) = input.range(column)?;
                // A sum that leaves 64 bits all the same ends the run.
                let least = (low * MAX_RECORDS).min(low).max(ALL.0);
                (least, (high * MAX_RECORDS).max(high).min(ALL.1))
            }
            _ => ALL,
        })
    });
    groups.chain(figures).collect()
}

impl Columns<'_> {
    /// The range of an expression, if it is an integer; those of its parts are checked either way.
    fn range(&self, expression: &Expr) -> Result<Range, QueryRefusal> {
        let found = match expression {
            Expr::Alias(alias) => return self.range(&alias.expr),
            Expr::Column(column) => {
                let place = self.schema.index_of_column(column);
                return Ok(place.map_or(ALL, |place| self.ranges[place]));
            }
            Expr::Literal(ScalarValue::Int64(Some(n)), _) => return Ok(((*n).into(), (*n).into())),
            Expr::Negative(part) => {
                let (low, high) = self.range(part)?;
                (-high, -low)
            }
            Expr::BinaryExpr(binary) => {
                let (left, right) = (self.range(&binary.left)?, self.range(&binary.right)?);
                of_operator(binary.op, left, right)
            }
            Expr::ScalarFunction(function) if function.name() == "abs" => {
                let (low, high) = self.union(&function.args)?;
                (0, high.max(-low))
            }
            Expr::Case(case) => {
                let conditions = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
                for part in conditions.chain(case.expr.as_deref()) {
                    self.range(part)?;
                }
                let values = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                return self.union(values.chain(case.else_expr.as_deref()));
            }
            other => {
                let mut parts = vec![];
                let _ = datafusion::common::tree_node::TreeNode::apply_children(other, |part| {
                    parts.push(self.range(part));
                    Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
                });
                parts.into_iter().collect::<Result<Vec<_>, _>>()?;
                ALL
            }
        };
        let is_integer = expression.get_type(self.schema);
        let is_integer = is_integer
            .map(|kind| kind == DataType::Int64)
            .map_err(|error| QueryRefusal::Unplanned(brief(&error.to_string())))?;
        if is_integer && (found.0 < ALL.0 || found.1 > ALL.1) {
            return Err(QueryRefusal::Overflow(brief(&expression.to_string())));
        }
        Ok((found.0.max(ALL.0), found.1.min(ALL.1)))
    }

    fn union<'e>(&self, parts: impl IntoIterator<Item = &'e Expr>) -> Result<Range, QueryRefusal> {
        let mut whole: Option<Range> = None;
        for part in parts {
            let (low, high) = self.range(part)?;
            whole = Some(whole.map_or((low, high), |(least, most)| {
                (least.min(low), most.max(high))
            }));
        }
        Ok(whole.unwrap_or(ALL))
    }
}

/// Both ranges are within 64 bits, so that nothing here leaves 128.
fn of_operator(operator: Operator, left: Range, right: Range) -> Range {
    let products = [
        left.0 * right.0,
        left.0 * right.1,
        left.1 * right.0,
        left.1 * right.1,
    ];
    let largest = left.1.max(-left.0);
    match operator {
        Operator::Plus => (left.0 + right.0, left.1 + right.1),
        Operator::Minus => (left.0 - right.1, left.1 - right.0),
        Operator::Multiply => (
            products.into_iter().min().unwrap_or_default(),
            products.into_iter().max().unwrap_or_default(),
        ),
        Operator::Divide => (-largest, largest),
        Operator::Modulo => (left.0.min(0), left.1.max(0)),
        _ => ALL,
    }
}
