//! Parses Jute's language: modules of classes of typed fields. Source: the grammar of ZooKeeper's Jute
//! compiler (`rcc.jj`).
//!
//! The protocol does not use `include`, `map`, `byte`, `float` and `double`; the parser refuses them.

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, take_until};
use nom::character::complete::{alpha1, alphanumeric1, char, multispace1};
use nom::combinator::{all_consuming, map, opt, recognize, value, verify};
use nom::multi::{many0_count, many1, separated_list1};
use nom::sequence::{delimited, pair, preceded, terminated};
use nom::{Finish, IResult, Parser};

/// Type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Boolean,
    Int,
    Long,
    Ustring,
    Buffer,
    Vector(Box<Type>),
    Record { module: String, name: String },
}

impl Type {
    /// Returns the item type of a vector, through nested vectors.
    pub(crate) fn innermost(&self) -> &Type {
        if let Type::Vector(item) = self { item.innermost() } else { self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) kind: Type,
    pub(crate) name: String,
}

/// A record, without the module in its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
}

/// Parses the classes of one file. *Errors*: the position at which the text is not Jute.
pub(crate) fn modules(text: &str) -> Result<Vec<Class>, String> {
    let file = preceded(blank, many1(module));
    let parsed = all_consuming(file).parse(text).finish();
    let (_, modules) = parsed.map_err(|error| format!("not Jute: {:.40?}", error.input))?;
    Ok(modules.into_iter().flatten().collect())
}

/// Parses a module. Its classes, and the unqualified names in them, belong to the module.
fn module(input: &str) -> IResult<&str, Vec<Class>> {
    let (input, name) = preceded(keyword("module"), dotted).parse(input)?;
    delimited(mark('{'), many1(|input| class(name, input)), mark('}')).parse(input)
}

fn class<'a>(module: &str, input: &'a str) -> IResult<&'a str, Class> {
    let fields = delimited(mark('{'), many1(|input| field(module, input)), mark('}'));
    map(pair(preceded(keyword("class"), word), fields), |(name, fields)| Class {
        module: module.to_owned(),
        name: name.to_owned(),
        fields,
    })
    .parse(input)
}

fn field<'a>(module: &str, input: &'a str) -> IResult<&'a str, Field> {
    let typed = pair(|input| kind(module, input), word);
    map(terminated(typed, mark(';')), |(kind, name)| Field { kind, name: name.to_owned() }).parse(input)
}

fn kind<'a>(module: &str, input: &'a str) -> IResult<&'a str, Type> {
    let (rest, name) = dotted(input)?;
    let kind = match name {
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "ustring" => Type::Ustring,
        "buffer" => Type::Buffer,
        "vector" => {
            let item = delimited(mark('<'), |input| kind(module, input), mark('>'));
            return map(item, |item| Type::Vector(Box::new(item))).parse(rest);
        }
        name => {
            let (module, name) = name.rsplit_once('.').unwrap_or((module, name));
            Type::Record { module: module.to_owned(), name: name.to_owned() }
        }
    };
    Ok((rest, kind))
}

fn dotted(input: &str) -> IResult<&str, &str> {
    terminated(recognize(separated_list1(char('.'), identifier)), blank).parse(input)
}

fn word(input: &str) -> IResult<&str, &str> {
    terminated(identifier, blank).parse(input)
}

fn identifier(input: &str) -> IResult<&str, &str> {
    recognize(pair(alpha1, many0_count(alt((alphanumeric1, tag("_")))))).parse(input)
}

fn keyword<'a>(wanted: &'static str) -> impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>> {
    verify(word, move |word: &str| word == wanted)
}

fn mark<'a>(wanted: char) -> impl Parser<&'a str, Output = char, Error = nom::error::Error<&'a str>> {
    terminated(char(wanted), blank)
}

fn blank(input: &str) -> IResult<&str, ()> {
    let line_comment = recognize(pair(tag("//"), opt(is_not("\n"))));
    let block_comment = delimited(tag("/*"), take_until("*/"), tag("*/"));
    value((), many0_count(alt((multispace1, line_comment, block_comment)))).parse(input)
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;

    #[test]
    fn reads_what_jute_allows() {
        let text = "/* two\n modules */ module a.b { class P { int x; } class Q { vector<vector<P>> ps;//\n a.b.P p ; } }\n\
                    module c { class R { a.b.Q q; boolean b; long l; ustring s; buffer d; } }";
        let classes = modules(text).expect("well-formed");
        let point = || Type::Record { module: "a.b".to_owned(), name: "P".to_owned() };
        let field = |kind, name: &str| Field { kind, name: name.to_owned() };
        let nested = Type::Vector(Box::new(Type::Vector(Box::new(point()))));
        assert_eq!(classes[1].fields, [field(nested, "ps"), field(point(), "p")]);
        assert_eq!(classes[2].module, "c");
        let kinds: Vec<&Type> = classes[2].fields[1..].iter().map(|field| &field.kind).collect();
        assert_eq!(kinds, [&Type::Boolean, &Type::Long, &Type::Ustring, &Type::Buffer]);
        assert_eq!(Spec::of(&[text]).expect("resolved").names().collect::<Vec<_>>(), ["P", "Q", "R"]);
    }

    #[test]
    fn refuses_the_rest() {
        let check = |text: &str, expected: &str| {
            let error = Spec::of(&[text]).expect_err(text);
            assert!(error.contains(expected), "{text:?}: {error}");
        };
        check("", "not Jute");
        check("class P { int x; }", "not Jute");
        check("module m { class P { } }", "not Jute");
        check("module m { class P { int x } }", "not Jute");
        check("module m { class P { int x; }", "not Jute");
        check("module m { class P { vector<int x; } }", "not Jute");
        check("module m { class P { map<int, int> x; } }", "not Jute");
        check("module m { classP { int x; } }", "not Jute");
        check("module m { class P { int x; } } /* open", "not Jute");
        check("module m { class P { double x; } }", "P.x: no record m.double");
        check("module m { class P { n.Q x; } class Q { int y; } }", "P.x: no record n.Q");
        check("module m { class P { int x; } class P { int y; } }", "P is described twice");
    }
}
