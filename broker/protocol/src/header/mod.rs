//! The named fields of each request and response, one file per family.
//!
//! A header is a table: field, type, name on the wire. [`header!`] generates the struct and both
//! conversions from it, so that they stay consistent. Text is borrowed from the decoded command
//! until [`Header::into_owned`] copies it; [`owned`] has the resulting types. A field that is not
//! an `Option` is required. A number that does not parse is an error, where Java treats an optional
//! one as absent and so does something else than was requested; an empty one is absent here too.
//!
//! Fields that Java's newer clients add to every request (`ns`, `nsd`, `bname`, `oway`, `lo`) mean
//! nothing to a broker and are ignored.

use crate::fields::{Cursor, Fields};

mod admin;
mod broker;
mod consumer_group;
mod message;
mod namesrv;
mod offset;
mod pop;
mod pull;
mod send;
mod topic;

pub use admin::*;
pub use broker::*;
pub use consumer_group::*;
pub use message::*;
pub use namesrv::*;
pub use offset::*;
pub use pop::*;
pub use pull::*;
pub use send::*;
pub use topic::*;

/// The headers with text of their own.
pub mod owned {
    pub use super::{
        admin::owned::*, broker::owned::*, consumer_group::owned::*, message::owned::*, namesrv::owned::*,
        offset::owned::*, pop::owned::*, pull::owned::*, send::owned::*, topic::owned::*,
    };
}

/// An invalid header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A required field is missing.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field has no value of its type.
    #[error("the field {field} cannot be {value:?}")]
    Value {
        /// Its name on the wire.
        field: &'static str,
        /// The value found.
        value: String,
    },
}

/// A typed view of [`Fields`].
pub trait Header<'a>: Sized {
    /// The same with text of its own, to outlive the command.
    type Owned: 'static;

    /// Reads the fields.
    ///
    /// # Errors
    /// A required field is missing or has a wrong value.
    fn decode(fields: &'a Fields) -> Result<Self, Error>;

    /// Appends the fields that have a value.
    fn encode(&self, fields: &mut Fields);

    /// Copies the text.
    fn into_owned(self) -> Self::Owned;
}

/// A type a field can have.
pub(crate) trait Value<'a>: Sized {
    fn decode(cursor: &mut Cursor<'a>, name: &'static str) -> Result<Self, Error>;
    fn encode(&self, name: &'static str, fields: &mut Fields);
}

/// Text of a value, both ways.
trait Scalar<'a>: Sized {
    fn parse(text: &'a str) -> Option<Self>;
    fn write(&self, text: &mut String);
}

impl<'a> Scalar<'a> for &'a str {
    fn parse(text: &'a str) -> Option<Self> {
        Some(text)
    }

    fn write(&self, text: &mut String) {
        text.push_str(self);
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Scalar<'_> for $integer {
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn write(&self, text: &mut String) {
                text.push_str(itoa::Buffer::new().format(*self));
            }
        }
    )*};
}

integers!(i32, i64, u32);

impl Scalar<'_> for bool {
    /// As Java's `Boolean.parseBoolean`: anything but "true" is false.
    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn write(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

macro_rules! values {
    ($($scalar:ty),*) => {$(
        impl<'a> Value<'a> for $scalar {
            fn decode(cursor: &mut Cursor<'a>, name: &'static str) -> Result<Self, Error> {
                let text = cursor.get(name).ok_or(Error::Missing(name))?;
                Scalar::parse(text).ok_or_else(|| Error::Value { field: name, value: text.to_owned() })
            }

            fn encode(&self, name: &'static str, fields: &mut Fields) {
                fields.push_with(name, |text| self.write(text));
            }
        }

        impl<'a> Value<'a> for Option<$scalar> {
            fn decode(cursor: &mut Cursor<'a>, name: &'static str) -> Result<Self, Error> {
                match cursor.get(name) {
                    None => Ok(None),
                    Some(text) => match Scalar::parse(text) {
                        None if !text.is_empty() => Err(Error::Value { field: name, value: text.to_owned() }),
                        value => Ok(value),
                    },
                }
            }

            fn encode(&self, name: &'static str, fields: &mut Fields) {
                if let Some(value) = self {
                    value.encode(name, fields);
                }
            }
        }
    )*};
}

values!(&'a str, i32, i64, u32, bool);

/// The value of a field that does not borrow from the command.
trait IntoOwned {
    type Owned;
    fn into_owned(self) -> Self::Owned;
}

macro_rules! owned {
    ($($from:ty => $to:ty, |$value:ident| $own:expr;)*) => {$(
        impl IntoOwned for $from {
            type Owned = $to;
            fn into_owned(self) -> $to {
                let $value = self;
                $own
            }
        }

        impl IntoOwned for Option<$from> {
            type Owned = Option<$to>;
            fn into_owned(self) -> Option<$to> {
                self.map(IntoOwned::into_owned)
            }
        }
    )*};
}

owned! {
    &str => String, |text| text.to_owned();
    i32 => i32, |number| number;
    i64 => i64, |number| number;
    u32 => u32, |number| number;
    bool => bool, |truth| truth;
}

macro_rules! header {
    ($($(#[$doc:meta])* $name:ident $(<$text:ident>)? { $($(#[$row:meta])* $field:ident: $type:ty = $wire:literal,)* })*) => {
        /// The headers of this family over any text.
        pub(crate) mod generic {$(
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Eq)]
            pub struct $name $(<$text>)? {
                $(
                    #[doc = concat!("`", $wire, "` on the wire.")]
                    #[doc = ""]
                    $(#[$row])*
                    pub $field: $type,
                )*
            }
        )*}

        /// The headers of this family with text of their own.
        pub(crate) mod owned {$(
            $(#[$doc])*
            pub type $name = crate::header::header!(@owned $name $($text)?);
        )*}

        $(
            header!(@alias $(#[$doc])* $name $($text)?);

            impl<'a> crate::header::Header<'a> for header!(@borrowed $name $($text)?) {
                type Owned = owned::$name;

                fn decode(fields: &'a crate::Fields) -> Result<Self, crate::header::Error> {
                    #[allow(unused_mut, unused_variables, reason = "a header without fields")]
                    let mut cursor = fields.cursor();
                    Ok(Self { $($field: crate::header::Value::decode(&mut cursor, $wire)?,)* })
                }

                #[allow(unused_variables, reason = "a header without fields")]
                fn encode(&self, fields: &mut crate::Fields) {
                    $(crate::header::Value::encode(&self.$field, $wire, fields);)*
                }

                fn into_owned(self) -> Self::Owned {
                    owned::$name { $($field: crate::header::IntoOwned::into_owned(self.$field),)* }
                }
            }
        )*
    };
    (@owned $name:ident) => { super::generic::$name };
    (@owned $name:ident $text:ident) => { super::generic::$name<String> };
    (@borrowed $name:ident) => { generic::$name };
    (@borrowed $name:ident $text:ident) => { generic::$name<&'a str> };
    (@alias $(#[$doc:meta])* $name:ident) => { pub use generic::$name; };
    (@alias $(#[$doc:meta])* $name:ident $text:ident) => {
        $(#[$doc])*
        pub type $name<'a> = generic::$name<&'a str>;
    };
}
pub(crate) use header;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_fields_are_required() {
        let fields: Fields = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "3"), ("setZeroIfNotFound", "TRUE")]
            .into_iter()
            .collect();
        let header = QueryConsumerOffset::decode(&fields).unwrap();
        assert_eq!((header.consumer_group, header.queue_id, header.set_zero_if_not_found), ("g", 3, Some(true)));
        let fields: Fields = [("consumerGroup", "g"), ("topic", "t")].into_iter().collect();
        assert_eq!(QueryConsumerOffset::decode(&fields), Err(Error::Missing("queueId")));
        let fields: Fields = [("consumerGroup", "g"), ("topic", "t"), ("queueId", "x")].into_iter().collect();
        assert_eq!(QueryConsumerOffset::decode(&fields), Err(Error::Value { field: "queueId", value: "x".into() }));
    }

    #[test]
    fn an_optional_number_that_is_none_is_not_taken_as_absent() {
        let reset = |queue_id| -> Fields {
            [("topic", "t"), ("group", "g"), ("queueId", queue_id), ("timestamp", "0"), ("isForce", "x")]
                .into_iter()
                .collect()
        };
        let error = Error::Value { field: "queueId", value: "0x".into() };
        assert_eq!(ResetOffset::decode(&reset("0x")), Err(error));
        assert_eq!(ResetOffset::decode(&reset("")).map(|header| (header.queue_id, header.force)), Ok((None, false)));
        assert_eq!(ResetOffset::decode(&reset("-1")).map(|header| header.queue_id), Ok(Some(-1)));
    }
}
