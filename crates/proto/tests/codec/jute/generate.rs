//! Generates random values of the specification's types, with a bias to the ends of their ranges.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Spec;
use super::parse::Type;
use super::value::{Record, Value};

impl Spec {
    /// Generates records with this name.
    pub(crate) fn records(&self, name: &str) -> BoxedStrategy<Record> {
        let class = self.class(name).clone();
        let values: Vec<_> = class.fields.iter().map(|field| self.values(&field.kind)).collect();
        let names: Vec<String> = class.fields.into_iter().map(|field| field.name).collect();
        let record = move |values| Record {
            name: class.name.clone(),
            fields: names.iter().cloned().zip::<Vec<_>>(values).collect(),
        };
        values.prop_map(record).boxed()
    }

    fn values(&self, kind: &Type) -> BoxedStrategy<Value> {
        match kind {
            Type::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
            Type::Int => prop_oneof![any::<i32>(), -2..10, Just(i32::MIN), Just(i32::MAX)].prop_map(Value::Int).boxed(),
            Type::Long => {
                prop_oneof![any::<i64>(), -2..10i64, Just(i64::MIN), Just(i64::MAX)].prop_map(Value::Long).boxed()
            }
            Type::Ustring => option::weighted(0.9, texts()).prop_map(Value::Ustring).boxed(),
            Type::Buffer => option::weighted(0.9, vec(any::<u8>(), 0..20)).prop_map(Value::Buffer).boxed(),
            Type::Vector(item) => option::weighted(0.9, vec(self.items(item), 0..4)).prop_map(Value::Vector).boxed(),
            Type::Record { name, .. } => self.records(name).prop_map(Value::Record).boxed(),
        }
    }

    /// Generates items of a vector, none of which is null in the protocol.
    fn items(&self, kind: &Type) -> BoxedStrategy<Value> {
        if *kind == Type::Ustring {
            return texts().prop_map(|text| Value::Ustring(Some(text))).boxed();
        }
        self.values(kind)
    }
}

/// Generates texts: empty ones, paths of znodes, characters of all planes.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["(/[a-z0-9.-]{1,8}){1,3}", ".{0,6}", "\\PC{0,6}"]
}
