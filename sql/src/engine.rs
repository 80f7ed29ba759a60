//! DataFusion as the engine of queries: one thread, one partition, nothing on disk, no function that is not on the list.
//!
//! A query runs in two parts. The first ends with the grouping, to which the places of each group's records are added. The
//! second begins with those groups that may be told: what was dropped is not there for HAVING, ORDER BY and LIMIT to see.

use std::sync::Arc;

use collective_node::sandbox::{Asked, QueryEngine, Rows, Trap};
use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF,
};
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;

use crate::check::{AGGREGATE_FUNCTIONS, QueryRefusal, SCALAR_FUNCTIONS, brief, check_plan, parse};
use crate::members::{members, places};
use crate::{exact, output, ranges, table};

/// The engine.
pub struct DataFusion;

/// A query that may run, and what it runs in.
pub struct Planned {
    session: Session,
    plan: LogicalPlan,
    asked: Asked,
}

/// The groups with their figures, and what is left to do with them.
pub struct Grouped {
    session: Session,
    plan: LogicalPlan,
    groups: RecordBatch,
}

struct Session {
    runtime: tokio::runtime::Runtime,
    state: SessionState,
}

// The release of DataFusion, and the number of what is around it here: the allow-list, the exact functions, how values are
// written (`tests/name.rs`).
impl QueryEngine for DataFusion {
    const NAME: &'static str = "datafusion/55.2.0/rules/1";
    type Plan = Planned;
    type Grouped = Grouped;

    fn plan(asked: &Asked) -> Result<Planned, Trap> {
        plan(asked).map_err(|refusal| Trap::Query(refusal.to_string()))
    }

    fn group(planned: Planned, rows: &Rows) -> Result<(Grouped, Vec<Vec<u32>>), Trap> {
        group(planned, rows).map_err(|error| failed(&error))
    }

    fn finish(grouped: Grouped, kept: &[bool]) -> Result<Vec<u8>, Trap> {
        let is_whole = grouping(&grouped.plan).is_some_and(|whole| whole.group_expr.is_empty());
        if is_whole && kept.iter().all(|kept| !kept) {
            return Err(Trap::Suppressed);
        }
        let batches = finish(grouped, kept).map_err(|error| failed(&error))?;
        output::json(&batches).ok_or(Trap::QueryFailed)
    }
}

/// Why a query failed over the records, in a word that shows nothing of them.
fn failed(error: &DataFusionError) -> Trap {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Trap::Memory,
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::DivideByZero => Trap::DivisionByZero,
            ArrowError::ArithmeticOverflow(_) => Trap::IntegerOverflow,
            ArrowError::CastError(_) => Trap::BadConversion,
            _ => Trap::QueryFailed,
        },
        _ => Trap::QueryFailed,
    }
}

impl Session {
    fn new(memory_bytes: usize) -> Result<Self, DataFusionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(true);
        // Names are as they were declared, not in lower case.
        config.options_mut().sql_parser.enable_ident_normalization = false;
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let environment: RuntimeEnv = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
            .with_disk_manager_builder(disk)
            .build()?;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::new(environment))
            .with_scalar_functions(scalar_functions())
            .with_aggregate_functions(aggregate_functions())
            .with_expr_planners(vec![Arc::new(
                datafusion::functions_aggregate::planner::AggregateFunctionPlanner,
            )])
            .build();
        Ok(Self { runtime, state })
    }

    /// All rows of a plan, in their order.
    fn rows(&self, plan: &LogicalPlan) -> Result<Vec<RecordBatch>, DataFusionError> {
        self.runtime.block_on(async {
            let physical = self.state.create_physical_plan(plan).await?;
            collect(physical, self.state.task_ctx()).await
        })
    }
}

fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = datafusion::functions::all_default_functions();
    all.retain(|function| SCALAR_FUNCTIONS.contains(&function.name()));
    all
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let exact = [Arc::new(exact::sum()), Arc::new(exact::avg())];
    let mut all = datafusion::functions_aggregate::all_default_aggregate_functions();
    // Those that are made exactly are not there under another name either, as `mean` would be.
    all.retain(|function| {
        let is_exact = exact.iter().any(|ours| ours.name() == function.name());
        AGGREGATE_FUNCTIONS.contains(&function.name()) && !is_exact
    });
    all.extend(exact);
    all
}

fn plan(asked: &Asked) -> Result<Planned, QueryRefusal> {
    let unplanned =
        |error: DataFusionError| QueryRefusal::Unplanned(brief(&error.strip_backtrace()));
    let statement = parse(&asked.query)?;
    let session = Session::new(asked.memory_bytes).map_err(unplanned)?;
    let empty = MemTable::try_new(Arc::new(table::schema(&asked.columns)), vec![vec![]]);
    let context = SessionContext::new_with_state(session.state.clone());
    let name = TableReference::bare(asked.source.as_str());
    let registered = empty.and_then(|empty| context.register_table(name, Arc::new(empty)));
    registered.map_err(unplanned)?;
    let statement = Statement::Statement(Box::new(statement));
    let state = context.state();
    let planned = session.runtime.block_on(state.statement_to_plan(statement));
    let plan = planned.map_err(unplanned)?;
    check_plan(&plan)?;
    ranges::check(&plan, &table::ranges(&asked.columns))?;
    // What the optimizer refuses is refused here, before a record is read.
    session.state.optimize(&plan).map_err(unplanned)?;
    Ok(Planned {
        session,
        plan,
        asked: asked.clone(),
    })
}

/// The only grouping of a checked plan.
fn grouping(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        other => other.inputs().into_iter().find_map(grouping),
    }
}

/// Makes the groups, each with the places of its records.
fn group(planned: Planned, rows: &Rows) -> Result<(Grouped, Vec<Vec<u32>>), DataFusionError> {
    let Planned {
        session,
        plan,
        asked,
    } = planned;
    let missing = || DataFusionError::Internal("a plan without a grouping".into());
    let wanted = grouping(&plan).ok_or_else(missing)?;
    let records = table::Records::new(rows.clone(), &asked.columns);
    let schema = datafusion::physical_plan::streaming::PartitionStream::schema(&records).clone();
    let records: Arc<dyn TableProvider> =
        Arc::new(StreamingTable::try_new(schema, vec![Arc::new(records)])?);
    let source = TableReference::bare(asked.source.as_str());
    let mut grouped = LogicalPlanBuilder::scan(source, provider_as_source(records), None)?;
    if let LogicalPlan::Filter(filter) = wanted.input.as_ref() {
        grouped = grouped.filter(filter.predicate.clone())?;
    }
    let place = Expr::Column(Column::from_name(table::PLACE));
    let mut figures = wanted.aggr_expr.clone();
    figures.push(members().call(vec![place]));
    let grouped = grouped
        .aggregate(wanted.group_expr.clone(), figures)?
        .build()?;

    let batches = session.rows(&grouped)?;
    let schema = unnamed(grouped.schema());
    let batches: Result<Vec<_>, _> = batches
        .iter()
        .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
        .collect();
    let whole = concat_batches(&schema, &batches?)?;
    let last = whole.num_columns() - 1;
    let joined = whole.column(last).as_binary::<i64>();
    let places = joined
        .iter()
        .map(|group| places(group.unwrap_or_default()))
        .collect();
    let groups = whole.project(&(0..last).collect::<Vec<_>>())?;
    Ok((
        Grouped {
            session,
            plan,
            groups,
        },
        places,
    ))
}

/// The fields of a grouping, numbered: two of them may have one name.
fn unnamed(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().enumerate();
    let field = |(place, field): (usize, &Arc<Field>)| {
        Field::new(numbered(place), field.data_type().clone(), true)
    };
    Arc::new(Schema::new(fields.map(field).collect::<Vec<_>>()))
}

fn numbered(place: usize) -> String {
    format!("g{place}")
}

/// What comes after the grouping, over the kept groups.
fn finish(grouped: Grouped, kept: &[bool]) -> Result<Vec<RecordBatch>, DataFusionError> {
    let Grouped {
        session,
        plan,
        groups,
    } = grouped;
    let kept = filter_record_batch(&groups, &BooleanArray::from(kept.to_vec()))?;
    let table = MemTable::try_new(kept.schema(), vec![vec![kept]])?;
    let name = TableReference::bare("#groups");
    let scan = LogicalPlanBuilder::scan(name.clone(), provider_as_source(Arc::new(table)), None)?;
    let grouping =
        grouping(&plan).ok_or_else(|| DataFusionError::Internal("no grouping".into()))?;
    let named = grouping
        .schema
        .iter()
        .enumerate()
        .map(|(place, (of, field))| {
            let column = Expr::Column(Column::new(Some(name.clone()), numbered(place)));
            match of {
                Some(of) => column.alias_qualified(Some(of.clone()), field.name()),
                None => column.alias(field.name()),
            }
        });
    let told = scan.project(named.collect::<Vec<_>>())?.build()?;
    let rest = plan.transform_down(|step| {
        Ok(match step {
            LogicalPlan::Aggregate(_) => {
                Transformed::new(told.clone(), true, TreeNodeRecursion::Jump)
            }
            other => Transformed::no(other),
        })
    })?;
    session.rows(&rest.data)
}
