//! Jute's language and encoding, from the specification alone, without `oxkeeper_proto`.

pub(crate) mod generate;
pub(crate) mod parse;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use parse::{Class, Type, modules};

/// The records of a set of specification files, by name.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    classes: BTreeMap<String, Class>,
}

impl Spec {
    /// Reads the protocol's specification: all files of `jute-specs/`.
    pub(crate) fn protocol() -> Spec {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jute-specs");
        let entries = fs::read_dir(&folder).expect("jute-specs is part of the project");
        let paths = entries.map(|entry| entry.expect("a readable folder").path());
        let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jute"));
        let texts: Vec<String> = files.map(|path| fs::read_to_string(path).expect("a readable file")).collect();
        Spec::of(&texts).expect("jute-specs is well-formed")
    }

    /// Parses the records of `texts`. *Errors*: malformed text, a name used twice, a reference to a record
    /// that does not exist.
    pub(crate) fn of<S: AsRef<str>>(texts: &[S]) -> Result<Spec, String> {
        let mut classes = BTreeMap::new();
        for text in texts {
            for class in modules(text.as_ref())? {
                if let Some(twice) = classes.insert(class.name.clone(), class) {
                    return Err(format!("{} is described twice", twice.name));
                }
            }
        }
        let spec = Spec { classes };
        spec.check_references()?;
        Ok(spec)
    }

    fn check_references(&self) -> Result<(), String> {
        for class in self.classes.values() {
            for field in &class.fields {
                let Type::Record { name, module } = field.kind.innermost() else { continue };
                if self.classes.get(name).is_none_or(|named| named.module != *module) {
                    return Err(format!("{}.{}: no record {module}.{name}", class.name, field.name));
                }
            }
        }
        Ok(())
    }

    /// Removes the field with this name from all records.
    pub(crate) fn without(mut self, field_name: &str) -> Spec {
        self.classes.values_mut().for_each(|class| class.fields.retain(|field| field.name != field_name));
        self
    }

    /// Returns the record with this name.
    pub(crate) fn class(&self, name: &str) -> &Class {
        self.classes.get(name).unwrap_or_else(|| panic!("no record {name} in jute-specs"))
    }

    /// Returns the names of all records.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(String::as_str)
    }
}
