//! The bodies of multi (14) and multiRead (22): operations with headers, up to an end mark. Source:
//! `MultiOperationRecord`, `MultiResponse`, `Op`.

use bytes::BufMut;

use crate::jute::{DecodeError, Jute, Reader};
use crate::op::{CreateMode, OpCode};
use crate::records::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, ErrorResponse, MultiHeader, ReadRequest,
    SetDataRequest,
};

/// One operation of a multi or multiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiOp<'a> {
    /// Operation 1, 15 or 19; the number decides the form of the result. Flags and ACL may be wrong if the
    /// operation came as 21.
    Create(OpCode, CreateRequest<'a>),
    /// Operation 21.
    CreateTtl(CreateTtlRequest<'a>),
    /// Operation 2.
    Delete(DeleteRequest<'a>),
    /// Operation 5.
    SetData(SetDataRequest<'a>),
    /// Operation 13.
    Check(CheckVersionRequest<'a>),
    /// Operation 4, in a multiRead.
    GetData(ReadRequest<'a>),
    /// Operation 8, in a multiRead.
    GetChildren(ReadRequest<'a>),
}

/// The mark after the last operation or result.
pub const MULTI_END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };

impl<'a> MultiOp<'a> {
    /// Returns the number in the operation's header.
    pub fn op(&self) -> OpCode {
        match self {
            MultiOp::Create(op, _) => *op,
            MultiOp::CreateTtl(_) => OpCode::CreateTtl,
            MultiOp::Delete(_) => OpCode::Delete,
            MultiOp::SetData(_) => OpCode::SetData,
            MultiOp::Check(_) => OpCode::Check,
            MultiOp::GetData(_) => OpCode::GetData,
            MultiOp::GetChildren(_) => OpCode::GetChildren,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self, MultiOp::GetData(_) | MultiOp::GetChildren(_))
    }

    fn decode(op: i32, reader: &mut Reader<'a>) -> Result<MultiOp<'a>, DecodeError> {
        match OpCode::from_wire(op) {
            Some(op @ (OpCode::Create | OpCode::Create2 | OpCode::CreateContainer)) => create(op, reader),
            Some(OpCode::CreateTtl) => CreateTtlRequest::decode(reader).map(create_ttl),
            Some(OpCode::Delete) => Jute::decode(reader).map(MultiOp::Delete),
            Some(OpCode::SetData) => Jute::decode(reader).map(MultiOp::SetData),
            Some(OpCode::Check) => Jute::decode(reader).map(MultiOp::Check),
            Some(OpCode::GetData) => Jute::decode(reader).map(MultiOp::GetData),
            Some(OpCode::GetChildren) => Jute::decode(reader).map(MultiOp::GetChildren),
            _ => Err(DecodeError::NotAllowed("operation in a multi")),
        }
    }

    fn encode<B: BufMut>(&self, out: &mut B) {
        match self {
            MultiOp::Create(_, request) => request.encode(out),
            MultiOp::CreateTtl(request) => request.encode(out),
            MultiOp::Delete(request) => request.encode(out),
            MultiOp::SetData(request) => request.encode(out),
            MultiOp::Check(request) => request.encode(out),
            MultiOp::GetData(request) | MultiOp::GetChildren(request) => request.encode(out),
        }
    }
}

/// Decodes a create in a multi. The flags take precedence over the header: container flags make it a createContainer.
fn create<'a>(op: OpCode, reader: &mut Reader<'a>) -> Result<MultiOp<'a>, DecodeError> {
    let request = CreateRequest::decode(reader)?;
    match CreateMode::from_wire(request.flags) {
        None => Err(DecodeError::NotAllowed("create flags in a multi")),
        // ZooKeeper: a null ACL vector inside a multi fails the decoding, not the ACL check.
        Some(_) if request.acl.is_none() => Err(DecodeError::Null("ACL in a multi")),
        Some(mode) if mode.has_ttl() => Err(DecodeError::NotAllowed("ttl flags without a ttl in a multi")),
        Some(CreateMode::Container) => Ok(MultiOp::Create(OpCode::CreateContainer, request)),
        Some(_) => Ok(MultiOp::Create(op, request)),
    }
}

/// Decodes a createTTL in a multi.
fn create_ttl(request: CreateTtlRequest<'_>) -> MultiOp<'_> {
    // ZooKeeper: without ttl flags it is the plain create (or createContainer) that its flags denote, and its ttl is
    // ignored. Invalid flags and a null ACL pass here; they fail that one operation when it is executed.
    let op = match CreateMode::from_wire(request.flags) {
        Some(mode) if mode.has_ttl() => return MultiOp::CreateTtl(request),
        Some(CreateMode::Container) => OpCode::CreateContainer,
        _ => OpCode::Create,
    };
    let CreateTtlRequest { path, data, acl, flags, ttl: _ } = request;
    MultiOp::Create(op, CreateRequest { path, data, acl, flags })
}

/// Decodes the operations of a multi or multiRead, in order.
///
/// *Errors*: a malformed operation, or reads mixed with writes, fail the whole request.
pub fn decode_multi<'a>(body: &'a [u8]) -> Result<Vec<MultiOp<'a>>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut ops: Vec<MultiOp<'a>> = Vec::new();
    loop {
        let header = MultiHeader::decode(&mut reader)?;
        if header.done {
            return Ok(ops);
        }
        let op = MultiOp::decode(header.op, &mut reader)?;
        if ops.first().is_some_and(|first| first.is_read() != op.is_read()) {
            return Err(DecodeError::NotAllowed("reads mixed with writes in a multi"));
        }
        ops.push(op);
    }
}

/// Appends the body of a multi or multiRead request.
pub fn encode_multi<B: BufMut>(ops: &[MultiOp<'_>], out: &mut B) {
    for op in ops {
        MultiHeader { op: op.op().wire(), done: false, err: -1 }.encode(out);
        op.encode(out);
    }
    MULTI_END.encode(out);
}

/// Appends one failed result: its header, and the same code again.
pub fn encode_multi_error<B: BufMut>(err: i32, out: &mut B) {
    MultiHeader { op: -1, done: false, err }.encode(out);
    ErrorResponse { err }.encode(out);
}
