//! Values of the specification's types, and their bytes. The primitives are described in
//! `jute-specs/session.jute`.

use super::Spec;
use super::parse::Type;

/// A value of a [`Type`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Ustring(Option<String>),
    Buffer(Option<Vec<u8>>),
    Vector(Option<Vec<Value>>),
    Record(Record),
}

/// A record: its name and its fields with their names, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, Value)>,
}

impl Record {
    /// Encodes the record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.fields.iter().flat_map(|(_, value)| value.encode()).collect()
    }

    /// Returns the field with this name.
    pub(crate) fn field(&mut self, name: &str) -> &mut Value {
        let field = self.fields.iter_mut().find(|(field, _)| field == name);
        field.map_or_else(|| panic!("no field {name}"), |(_, value)| value)
    }
}

impl Value {
    fn encode(&self) -> Vec<u8> {
        match self {
            Value::Boolean(truth) => vec![u8::from(*truth)],
            Value::Int(int) => int.to_be_bytes().to_vec(),
            Value::Long(long) => long.to_be_bytes().to_vec(),
            Value::Ustring(text) => counted(text.as_ref().map(|text| (text.len(), text.as_bytes().to_vec()))),
            Value::Buffer(bytes) => counted(bytes.as_ref().map(|bytes| (bytes.len(), bytes.clone()))),
            Value::Vector(items) => {
                counted(items.as_ref().map(|items| (items.len(), items.iter().flat_map(Value::encode).collect())))
            }
            Value::Record(record) => record.encode(),
        }
    }
}

/// Encodes a count and the items after it; -1 for null.
fn counted(content: Option<(usize, Vec<u8>)>) -> Vec<u8> {
    let (count, bytes) = content.map_or((-1, Vec::new()), |(count, bytes)| (count as i32, bytes));
    [count.to_be_bytes().to_vec(), bytes].concat()
}

impl Spec {
    /// Decodes the record with this name, which must take up all of `bytes`.
    pub(crate) fn decode(&self, name: &str, mut bytes: &[u8]) -> Option<Record> {
        let record = self.record(name, &mut bytes)?;
        bytes.is_empty().then_some(record)
    }

    fn record(&self, name: &str, bytes: &mut &[u8]) -> Option<Record> {
        let fields = self.class(name).fields.iter();
        let fields = fields.map(|field| Some((field.name.clone(), self.value(&field.kind, bytes)?)));
        Some(Record { name: name.to_owned(), fields: fields.collect::<Option<_>>()? })
    }

    fn value(&self, kind: &Type, bytes: &mut &[u8]) -> Option<Value> {
        Some(match kind {
            Type::Boolean => Value::Boolean(bytes.split_off_first()? != &0),
            Type::Int => Value::Int(int(bytes)?),
            Type::Long => Value::Long(i64::from_be_bytes(bytes.split_off(..8)?.try_into().ok()?)),
            Type::Ustring => Value::Ustring(match counted_bytes(bytes)? {
                None => None,
                Some(text) => Some(String::from_utf8(text).ok()?),
            }),
            Type::Buffer => Value::Buffer(counted_bytes(bytes)?),
            Type::Vector(item) => Value::Vector(match int(bytes)? {
                -1 => None,
                count => Some((0..count).map(|_| self.value(item, bytes)).collect::<Option<_>>()?),
            }),
            Type::Record { name, .. } => Value::Record(self.record(name, bytes)?),
        })
    }
}

fn int(bytes: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.split_off(..4)?.try_into().ok()?))
}

fn counted_bytes(bytes: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    match int(bytes)? {
        -1 => Some(None),
        len => Some(Some(bytes.split_off(..usize::try_from(len).ok()?)?.to_vec())),
    }
}
