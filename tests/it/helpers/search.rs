//! Where in a database something stands: every column of every table is looked at.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgPool};

/// Every table of ours, as `schema.table`.
pub(crate) async fn tables(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

/// The columns, as `table.column`, in which one of these stands somewhere: bytes as bytes, all else as it is shown.
pub(crate) async fn holding(pool: &PgPool, wanted: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for table in tables(pool).await {
        let columns: Vec<(String, bool)> = sqlx::query_as(
            "SELECT quote_ident(attname), atttypid = 'bytea'::regtype FROM pg_attribute
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
        )
        .bind(&table)
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(!columns.is_empty(), "{table}");
        for (column, is_bytes) in columns {
            let test = if is_bytes {
                format!("position(convert_to(w, 'UTF8') IN {column}) > 0")
            } else {
                format!("position(lower(w) IN lower({column}::text)) > 0")
            };
            let query = format!("SELECT EXISTS (SELECT FROM {table}, UNNEST($1::text[]) AS w WHERE {test})");
            let holds: bool = sqlx::query_scalar(AssertSqlSafe(query))
                .bind(wanted)
                .fetch_one(pool)
                .await
                .unwrap();
            if holds {
                let table = table.trim_start_matches("smshook.");
                found.insert(format!("{table}.{column}"));
            }
        }
    }
    found
}
