//! What a query may be: an allow-list, over the parsed text and again over the plan that is made of it.
//!
//! Conditions and expressions belong to WHERE and GROUP BY, where the people whom they single out are counted. Inside of an
//! aggregate function stands a column: `sum(CASE WHEN … END)` would be a figure of the few whom the condition picks, in a group
//! of many.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ExprSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Operator};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr as Word, GroupByExpr, LimitClause, OrderBy, OrderByExpr, OrderByKind, OrderByOptions,
    Query, Select, SetExpr, Statement, TableFactor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use thiserror::Error;

/// Functions of values.
pub const SCALAR_FUNCTIONS: [&str; 5] = ["abs", "ceil", "coalesce", "floor", "round"];

/// Functions of groups. No `min` and `max`, which are one person's value; no `corr` and `covar`, as one over a column that few
/// have is a figure of those few; none that is told apart by order.
pub const AGGREGATE_FUNCTIONS: [&str; 7] = [
    "avg",
    "count",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
];

/// Why a query may not run.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum QueryRefusal {
    /// The parser or the planner says why.
    #[error("{0}")]
    Unplanned(String),
    /// Something else than one SELECT.
    #[error("one SELECT and nothing else")]
    NotOneSelect,
    /// A clause or a kind of expression that is not on the list.
    #[error("{0} is not allowed")]
    Forbidden(String),
    /// Rows of people.
    #[error("a query gives figures of groups: it needs GROUP BY or an aggregate function")]
    NoAggregate,
    /// More than a column.
    #[error(
        "{0}() takes a column and nothing else: what picks people belongs to WHERE or GROUP BY"
    )]
    NotAColumn(String),
    /// A figure that would depend on how values are added.
    #[error("{0}() takes a column of integers")]
    NotIntegers(String),
    /// An integer that may be too large.
    #[error("{0} may leave the range of 64-bit integers: cast to double first")]
    Overflow(String),
    /// Two columns of one name.
    #[error("two columns of the output are called '{0}': name one with AS")]
    RepeatedName(String),
}

/// The one SELECT of a text, ordered by all that it groups by, after whatever it is ordered by already: the rows of an output
/// have one order.
pub fn parse(text: &str) -> Result<Statement, QueryRefusal> {
    let parsed = Parser::parse_sql(&GenericDialect {}, text);
    let mut statements =
        parsed.map_err(|error| QueryRefusal::Unplanned(brief(&error.to_string())))?;
    let (Some(Statement::Query(mut query)), true) = (statements.pop(), statements.is_empty())
    else {
        return Err(QueryRefusal::NotOneSelect);
    };
    let groups = check_query(&query)?;
    order_by_groups(&mut query, groups)?;
    Ok(Statement::Query(query))
}

/// Checks the clauses, and gives what it groups by.
fn check_query(query: &Query) -> Result<Vec<Word>, QueryRefusal> {
    let clauses = [
        ("WITH", query.with.is_some()),
        ("FETCH", query.fetch.is_some()),
        ("FOR UPDATE", !query.locks.is_empty()),
        ("FOR XML or JSON", query.for_clause.is_some()),
        ("SETTINGS", query.settings.is_some()),
        ("FORMAT", query.format_clause.is_some()),
        ("|>", !query.pipe_operators.is_empty()),
    ];
    forbid(&clauses)?;
    match &query.limit_clause {
        None => {}
        Some(LimitClause::LimitOffset {
            limit: Some(_),
            offset: None,
            limit_by,
        }) if limit_by.is_empty() => {}
        Some(_) => return Err(QueryRefusal::Forbidden("OFFSET".into())),
    }
    match query.body.as_ref() {
        SetExpr::Select(select) => check_select(select),
        SetExpr::SetOperation { op, .. } => Err(QueryRefusal::Forbidden(op.to_string())),
        _ => Err(QueryRefusal::NotOneSelect),
    }
}

fn check_select(select: &Select) -> Result<Vec<Word>, QueryRefusal> {
    let clauses = [
        ("a hint", !select.optimizer_hints.is_empty()),
        ("DISTINCT", select.distinct.is_some()),
        ("a modifier of SELECT", select.select_modifiers.is_some()),
        ("TOP", select.top.is_some()),
        ("EXCLUDE", select.exclude.is_some()),
        ("INTO", select.into.is_some()),
        ("LATERAL VIEW", !select.lateral_views.is_empty()),
        ("PREWHERE", select.prewhere.is_some()),
        ("CONNECT BY", !select.connect_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
        ("SORT BY", !select.sort_by.is_empty()),
        ("WINDOW", !select.named_window.is_empty()),
        ("QUALIFY", select.qualify.is_some()),
        ("SELECT AS", select.value_table_mode.is_some()),
    ];
    forbid(&clauses)?;
    match &select.from[..] {
        [one] if one.joins.is_empty() => check_table(&one.relation)?,
        _ => return Err(QueryRefusal::Forbidden("a join".into())),
    }
    match &select.group_by {
        GroupByExpr::Expressions(groups, modifiers) if modifiers.is_empty() => Ok(groups.clone()),
        _ => Err(QueryRefusal::Forbidden(
            "GROUP BY ALL, or with a modifier".into(),
        )),
    }
}

/// The table by its name, and nothing around it.
fn check_table(table: &TableFactor) -> Result<(), QueryRefusal> {
    let TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints,
        version: None,
        with_ordinality: false,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = table
    else {
        let what = "anything but the source's name after FROM";
        return Err(QueryRefusal::Forbidden(what.into()));
    };
    forbid(&[
        ("a schema before the source's name", name.0.len() != 1),
        (
            "a hint",
            !(with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty()),
        ),
    ])
}

fn forbid(clauses: &[(&str, bool)]) -> Result<(), QueryRefusal> {
    match clauses.iter().find(|(_, present)| *present) {
        Some((clause, _)) => Err(QueryRefusal::Forbidden((*clause).into())),
        None => Ok(()),
    }
}

fn order_by_groups(query: &mut Query, groups: Vec<Word>) -> Result<(), QueryRefusal> {
    let mut order = match query.order_by.take() {
        None => vec![],
        Some(OrderBy {
            kind: OrderByKind::Expressions(order),
            interpolate: None,
        }) if order.iter().all(|by| by.with_fill.is_none()) => order,
        Some(_) => {
            return Err(QueryRefusal::Forbidden(
                "ORDER BY ALL or a filled one".into(),
            ));
        }
    };
    order.extend(groups.into_iter().map(|expr| OrderByExpr {
        expr,
        options: OrderByOptions {
            asc: None,
            nulls_first: None,
        },
        with_fill: None,
    }));
    query.order_by = (!order.is_empty()).then_some(OrderBy {
        kind: OrderByKind::Expressions(order),
        interpolate: None,
    });
    Ok(())
}

/// The grouping of a plan, all of whose parts are allowed.
pub fn check_plan(plan: &LogicalPlan) -> Result<&Aggregate, QueryRefusal> {
    let aggregate = above_grouping(plan)?;
    below_grouping(&aggregate.input)?;
    for group in &aggregate.group_expr {
        check_expression(group)?;
    }
    for figure in &aggregate.aggr_expr {
        check_figure(figure, aggregate)?;
    }
    let mut names: Vec<&str> = plan
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(QueryRefusal::RepeatedName(pair[0].into())),
        None => Ok(aggregate),
    }
}

/// What comes after the grouping: HAVING, the selected expressions, ORDER BY, LIMIT.
fn above_grouping(plan: &LogicalPlan) -> Result<&Aggregate, QueryRefusal> {
    let input = match plan {
        LogicalPlan::Aggregate(aggregate) => return Ok(aggregate),
        LogicalPlan::Limit(limit) => {
            let whole = |n: &Expr| matches!(n, Expr::Literal(ScalarValue::Int64(Some(0..)), _));
            if limit.skip.is_some() || !limit.fetch.as_deref().is_none_or(whole) {
                return Err(QueryRefusal::Forbidden("a LIMIT that is no number".into()));
            }
            &limit.input
        }
        LogicalPlan::Sort(sort) => {
            sort.expr
                .iter()
                .try_for_each(|by| check_expression(&by.expr))?;
            &sort.input
        }
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().try_for_each(check_expression)?;
            &projection.input
        }
        LogicalPlan::Filter(filter) => {
            check_expression(&filter.predicate)?;
            &filter.input
        }
        LogicalPlan::TableScan(_) => return Err(QueryRefusal::NoAggregate),
        other => return Err(QueryRefusal::Forbidden(node(other))),
    };
    above_grouping(input)
}

/// What comes before the grouping: WHERE, and the only table.
fn below_grouping(plan: &LogicalPlan) -> Result<(), QueryRefusal> {
    match plan {
        LogicalPlan::TableScan(_) => Ok(()),
        LogicalPlan::Filter(filter) => {
            check_expression(&filter.predicate)?;
            match filter.input.as_ref() {
                LogicalPlan::TableScan(_) => Ok(()),
                other => Err(QueryRefusal::Forbidden(node(other))),
            }
        }
        other => Err(QueryRefusal::Forbidden(node(other))),
    }
}

/// One aggregate function over one column, or a count of everybody.
fn check_figure(figure: &Expr, of: &Aggregate) -> Result<(), QueryRefusal> {
    let figure = match figure {
        Expr::Alias(alias) => alias.expr.as_ref(),
        figure => figure,
    };
    let Expr::AggregateFunction(function) = figure else {
        return Err(QueryRefusal::Forbidden(kind(figure)));
    };
    let name = function.func.name();
    if !AGGREGATE_FUNCTIONS.contains(&name) {
        return Err(QueryRefusal::Forbidden(format!("the function {name}()")));
    }
    let parameters = &function.params;
    forbid(&[
        ("FILTER", parameters.filter.is_some()),
        (
            "ORDER BY within a function",
            !parameters.order_by.is_empty(),
        ),
        (
            "IGNORE or RESPECT NULLS",
            parameters.null_treatment.is_some(),
        ),
        (
            "DISTINCT in another function than count()",
            parameters.distinct && name != "count",
        ),
    ])?;
    match &parameters.args[..] {
        [Expr::Column(_)] if name == "count" => Ok(()),
        [Expr::Literal(ScalarValue::Int64(Some(1)), _)]
            if name == "count" && !parameters.distinct =>
        {
            Ok(())
        }
        [Expr::Column(column)] => match of.input.schema().field_from_column(column) {
            Ok(field) if *field.data_type() == DataType::Int64 => Ok(()),
            _ => Err(QueryRefusal::NotIntegers(name.into())),
        },
        _ => Err(QueryRefusal::NotAColumn(name.into())),
    }
}

/// An expression of columns, numbers and words.
fn check_expression(expression: &Expr) -> Result<(), QueryRefusal> {
    let mut refused = None;
    let walked = expression.apply(|part| {
        Ok(match check_part(part) {
            Ok(()) => TreeNodeRecursion::Continue,
            Err(refusal) => {
                refused = Some(refusal);
                TreeNodeRecursion::Stop
            }
        })
    });
    walked.map_err(|error| QueryRefusal::Unplanned(brief(&error.to_string())))?;
    refused.map_or(Ok(()), Err)
}

fn check_part(part: &Expr) -> Result<(), QueryRefusal> {
    let refused = match part {
        Expr::Column(_)
        | Expr::Alias(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::InList(_) => return Ok(()),
        Expr::Literal(value, _) if is_value(&value.data_type()) => return Ok(()),
        Expr::Literal(value, _) => format!("a value of the type {}", value.data_type()),
        Expr::BinaryExpr(binary) if is_operator(binary.op) => return Ok(()),
        Expr::BinaryExpr(binary) => format!("the operator {}", binary.op),
        Expr::Cast(cast) => match cast.field.data_type() {
            DataType::Int64 | DataType::Float64 => return Ok(()),
            other => format!("a cast to {other}"),
        },
        Expr::ScalarFunction(function) if SCALAR_FUNCTIONS.contains(&function.name()) => {
            return Ok(());
        }
        Expr::ScalarFunction(function) => format!("the function {}()", function.name()),
        other => kind(other),
    };
    Err(QueryRefusal::Forbidden(refused))
}

fn is_value(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Int64 | DataType::Float64 | DataType::Utf8 | DataType::Boolean | DataType::Null
    )
}

fn is_operator(operator: Operator) -> bool {
    use Operator::{And, Divide, Eq, Gt, GtEq, Lt, LtEq, Minus, Modulo, Multiply, NotEq, Or, Plus};
    matches!(
        operator,
        And | Or | Eq | NotEq | Lt | LtEq | Gt | GtEq | Plus | Minus | Multiply | Divide | Modulo
    )
}

/// What an expression is, in a word or two.
fn kind(expression: &Expr) -> String {
    match expression {
        Expr::WindowFunction(_) => "a window function".into(),
        Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::SetComparison(_) => "a subquery".into(),
        Expr::GroupingSet(_) => "a set of groupings".into(),
        other => format!("an expression of the kind {}", other.variant_name()),
    }
}

/// What a step of a plan is, in a word or two.
fn node(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Aggregate(_) => "a grouping of a grouping".into(),
        LogicalPlan::Window(_) => "a window function".into(),
        LogicalPlan::Join(_) => "a join".into(),
        LogicalPlan::Union(_) => "UNION".into(),
        LogicalPlan::Subquery(_) | LogicalPlan::SubqueryAlias(_) => "a subquery".into(),
        LogicalPlan::Distinct(_) => "DISTINCT".into(),
        LogicalPlan::EmptyRelation(_) => "a SELECT without FROM".into(),
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ']).next().unwrap_or_default().to_owned();
            format!("the step {name}")
        }
    }
}

/// The first line of what a library says, which is of the query alone.
pub fn brief(said: &str) -> String {
    /// Bytes of it: what fits a line or two.
    const MAX_BYTES: usize = 256;
    let line = said.lines().next().unwrap_or_default();
    line.chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_BYTES)
        .collect()
}
