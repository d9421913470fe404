//! How domain values lie in columns. Owns the conversions; must never hold SQL.
//! Invariant: an id of a canonical UUID is a 16-byte blob, every other id is text, so a column compares as bytes.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, Value, ValueRef};

use crate::base::id::{ClientId, KeyRef, Salt, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::consent::Purposes;

macro_rules! as_integer {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Owned(Value::Integer(i64::from(self.0))))
            }
        }
    )*};
}

as_integer!(Millis, Seq, Purposes);

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Millis)
    }
}

impl FromSql for Seq {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Seq)
    }
}

impl FromSql for Purposes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bits = value.as_i64()?;
        u32::try_from(bits).map(Purposes).map_err(|_| FromSqlError::OutOfRange(bits))
    }
}

impl ToSql for ClientId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            ClientId::Uuid(bytes) => ValueRef::Blob(bytes),
            ClientId::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl FromSql for ClientId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => bytes.try_into().map(ClientId::Uuid).map_err(|_| FromSqlError::InvalidType),
            _ => value.as_str().map(|text| ClientId::Text(text.into())),
        }
    }
}

macro_rules! as_blob {
    ($($name:ident),*) => {$(
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_blob()?.try_into().map($name).map_err(|_| FromSqlError::InvalidType)
            }
        }
    )*};
}

as_blob!(VisitorRef, Salt, KeyRef);

/// A column's value as the ledger hashes it. Errors: a real number, which no hashed column holds.
pub(in crate::store) fn plain(value: ValueRef<'_>) -> FromSqlResult<crate::domain::ledger::Value<'_>> {
    use crate::domain::ledger::Value as Plain;
    match value {
        ValueRef::Null => Ok(Plain::Null),
        ValueRef::Integer(n) => Ok(Plain::Integer(n)),
        ValueRef::Text(_) => value.as_str().map(Plain::Text),
        ValueRef::Blob(bytes) => Ok(Plain::Bytes(bytes)),
        ValueRef::Real(_) => Err(FromSqlError::InvalidType),
    }
}

/// A column's value as JSON; bytes as `{"hex": ..}`. Errors: a real number, which no hashed column holds.
pub(in crate::store) fn json(value: ValueRef<'_>) -> FromSqlResult<serde_json::Value> {
    use crate::domain::ledger::Value as Plain;
    Ok(match plain(value)? {
        Plain::Null => serde_json::Value::Null,
        Plain::Integer(n) => n.into(),
        Plain::Text(text) => text.into(),
        Plain::Bytes(bytes) => serde_json::json!({"hex": crate::base::text::hex(bytes)}),
    })
}

/// A word of a closed list, or an error that names the column's content as out of range.
pub(in crate::store) fn word<T>(value: ValueRef<'_>, parse: impl Fn(&str) -> Option<T>) -> FromSqlResult<T> {
    parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
}
