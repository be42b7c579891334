//! The results of a multi or multiRead, owned. Source: `MultiResponse`, `OpResult`.

use oxkeeper_proto::records::{
    Create2Response, CreateResponse, ErrorResponse, GetChildrenResponse, GetDataResponse, MultiHeader, Stat,
    StatResponse,
};
use oxkeeper_proto::{DecodeError, Jute, OpCode, Reader};

use crate::Error;

/// The result of one operation of a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// Path of a create.
    Created(String),
    /// Path and stat of a create2, createContainer or createTTL.
    Created2(String, Stat),
    /// A delete succeeded.
    Deleted,
    /// New stat of a setData.
    Set(Stat),
    /// A check succeeded.
    Checked,
    /// Data and stat of a getData; null data is `None`.
    Data(Option<Vec<u8>>, Stat),
    /// Names of a getChildren.
    Children(Vec<String>),
    /// The operation failed or was not tried: an [`oxkeeper_proto::ErrorCode`], or 0 if it was undone.
    Failed(i32),
}

/// Decodes the results up to the end mark.
///
/// *Errors*: `Decode`.
pub fn decode_results(body: &[u8]) -> Result<Vec<OpResult>, Error> {
    let mut reader = Reader::new(body);
    let mut results = Vec::new();
    loop {
        let header = MultiHeader::decode(&mut reader)?;
        if header.done {
            return Ok(results);
        }
        results.push(decode_result(header.op, &mut reader)?);
    }
}

fn decode_result(op: i32, reader: &mut Reader<'_>) -> Result<OpResult, DecodeError> {
    Ok(match OpCode::from_wire(op) {
        Some(OpCode::Create) => {
            OpResult::Created(CreateResponse::decode(reader)?.path.unwrap_or_default().into_owned())
        }
        Some(OpCode::Create2) => {
            let Create2Response { path, stat } = Create2Response::decode(reader)?;
            OpResult::Created2(path.unwrap_or_default().into_owned(), stat)
        }
        Some(OpCode::Delete) => OpResult::Deleted,
        Some(OpCode::SetData) => OpResult::Set(StatResponse::decode(reader)?.stat),
        Some(OpCode::Check) => OpResult::Checked,
        Some(OpCode::GetData) => {
            let GetDataResponse { data, stat } = GetDataResponse::decode(reader)?;
            OpResult::Data(data.map(<[u8]>::to_vec), stat)
        }
        Some(OpCode::GetChildren) => {
            let names = GetChildrenResponse::decode(reader)?.children.unwrap_or_default();
            OpResult::Children(names.into_iter().map(|name| name.into_owned()).collect())
        }
        Some(OpCode::Error) => OpResult::Failed(ErrorResponse::decode(reader)?.err),
        _ => return Err(DecodeError::NotAllowed("operation in a multi result")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_transaction_as_zookeeper_answers_it() {
        // Three operations whose second fails with BadVersion.
        let codes = [0, -103, -2];
        let mut body = Vec::new();
        codes.iter().for_each(|code| oxkeeper_proto::multi::encode_multi_error(*code, &mut body));
        oxkeeper_proto::multi::MULTI_END.encode(&mut body);
        let results = decode_results(&body).expect("well formed");
        assert_eq!(results, codes.map(OpResult::Failed));
    }

    #[test]
    fn truncated_results_are_an_error() {
        let mut body = Vec::new();
        MultiHeader { op: 4, done: false, err: 0 }.encode(&mut body);
        assert!(matches!(decode_results(&body), Err(Error::Decode(DecodeError::Truncated))));
    }
}
