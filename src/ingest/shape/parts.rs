//! What an event carries besides its page: attributes, traits, identity, conversation, context, and the hash over its content.
//! Must never leave a key that names the customer among the attributes. Invariant: attributes are sorted, each name once.

use serde::Serialize;

use crate::base::digest::HashKey;
use crate::base::id::ClientId;
use crate::base::text::{clean, cut};
use crate::domain::event::{Act, Attribute, Event};
use crate::domain::personal::Personal;
use crate::ingest::limits::{LANGUAGE_BYTES_MAX, Limits, NAME_BYTES_MAX};
use crate::ingest::shape::Shaped;
use crate::ingest::shape::check::{fits, id, short};
use crate::ingest::wire::{Invalid, Part, RawEvent};

/// Keys of Web Engagement's `data` that name the customer.
const IDENTITY_KEYS: [&str; 3] = ["userId", "identityId", "identity"];

/// Id and medium of a conversation.
pub(crate) fn conversation(raw: &mut RawEvent<'_>, act: Act, limits: &Limits) -> Shaped<Option<(ClientId, String)>> {
    let found = id("conversation.id", raw.conversation_id.take(), limits)?;
    let medium = short("conversation.medium", raw.conversation_medium.take(), LANGUAGE_BYTES_MAX)?;
    let needed = medium.is_some() || matches!(act, Act::ConversationStarted | Act::ConversationEnded);
    match found {
        Some(id) => Ok(Some((id, medium.unwrap_or_else(|| "unknown".to_owned())))),
        None if needed => Err(Invalid::new("conversation.id", "is missing")),
        None => Ok(None),
    }
}

/// Attributes, traits and identity. What Web Engagement sends in `data` with SignIn and UserInfo describes the customer, so it
/// becomes traits, which need the right to `personal`; a key that names the customer is never left among the attributes.
pub(crate) fn custom(event: &mut Event, raw: &mut RawEvent<'_>, limits: &Limits) -> Shaped<()> {
    let mut attributes = raw.attributes.take().unwrap_or_default();
    let mut traits = raw.traits.take().unwrap_or_default();
    let mut identity = short("identity", raw.identity.take(), limits.id_bytes_max)?;
    let of_person = matches!(event.act, Act::SignIn | Act::UserInfo);
    for extra in raw.data.take().unwrap_or_default() {
        if IDENTITY_KEYS.contains(&extra.name.as_str()) {
            let field = format!("data.{}", extra.name);
            if identity.is_some() {
                return Err(Invalid::new(field, "is given twice (identity, userId and identityId are one field)"));
            }
            identity = short(&field, Some(extra.value.into()), limits.id_bytes_max)?;
        } else if of_person {
            traits.push(extra);
        } else {
            attributes.push(extra);
        }
    }
    event.attributes = sorted("attributes", attributes, limits)?;
    event.personal = Personal {
        traits: sorted("traits", traits, limits)?,
        identity,
        external_id: short("externalId", raw.external_id.take(), limits.id_bytes_max)?,
        external_ids: sorted("externalIds", raw.external_ids.take().unwrap_or_default(), limits)?,
        form: sorted("form", raw.form.take().unwrap_or_default(), limits)?,
        full_ip: None,
    };
    event.personal.check().map_err(|(field, what)| Invalid::new(field, what))
}

/// Attributes by name. Errors: too many, a name given twice, a name or value too long.
fn sorted(field: &str, mut list: Vec<Attribute>, limits: &Limits) -> Shaped<Vec<Attribute>> {
    if list.len() > limits.attributes_max {
        return Err(Invalid::new(field, format!("holds more than {} attributes", limits.attributes_max)));
    }
    list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let path = |attribute: &Attribute| format!("{field}.{}", clean(cut(&attribute.name, 64)));
    for attribute in &list {
        if attribute.name.is_empty() || attribute.name.len() > NAME_BYTES_MAX {
            return Err(Invalid::new(path(attribute), format!("must have a name of 1 to {NAME_BYTES_MAX} bytes")));
        }
        if attribute.value.len() > limits.attribute_bytes_max {
            let what = format!("is longer than {} bytes", limits.attribute_bytes_max);
            return Err(Invalid::new(path(attribute), what));
        }
    }
    match list.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(Invalid::new(path(&pair[0]), "is given twice")),
        None => Ok(list),
    }
}

/// Device, browser, app, library and network as the client told them: a JSON object.
pub(crate) fn context(raw: &RawEvent<'_>, limits: &Limits) -> Shaped<Option<String>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Context<'r, 'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<&'r Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        browser: Option<&'r Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        app: Option<&'r Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sdk_library: Option<&'r Part<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        network_connectivity: Option<&'r Part<'a>>,
    }
    let parts = [
        ("device", &raw.device),
        ("browser", &raw.browser),
        ("app", &raw.app),
        ("sdkLibrary", &raw.sdk_library),
        ("networkConnectivity", &raw.network),
    ];
    for (under, part) in &parts {
        let Some(part) = part else { continue };
        part.texts().try_for_each(|(key, text)| fits(&format!("{under}.{key}"), text, limits.id_bytes_max))?;
    }
    let [device, browser, app, sdk_library, network_connectivity] =
        parts.map(|(_, part)| part.as_ref().filter(|part| !part.is_empty()));
    let told = Context { device, browser, app, sdk_library, network_connectivity };
    let any = [device, browser, app, sdk_library, network_connectivity].iter().any(Option::is_some);
    Ok(any.then(|| serde_json::to_string(&told).expect("invariant: texts, flags and finite numbers are JSON")))
}

/// What makes two events of one id the same: name, client time, page, attributes (contract 1).
pub(crate) fn content_hash(event: &Event, key: &HashKey) -> i64 {
    let time = event.client_at.map_or([0xff; 8], |at| at.0.to_be_bytes());
    let page = &event.page;
    let url = page.address.as_ref().map(|address| address.url.as_str());
    let mut hash = key.short();
    hash.field(event.name.as_bytes());
    hash.field(&time);
    for text in [url, page.title.as_deref(), page.screen.as_deref()] {
        hash.field(text.unwrap_or_default().as_bytes());
    }
    for attribute in &event.attributes {
        for text in [&attribute.name, attribute.data_type.word(), &attribute.value] {
            hash.field(text.as_bytes());
        }
    }
    hash.finish()
}
