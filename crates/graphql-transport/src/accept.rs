//! Content negotiation by the weights of the `Accept` header.

use axum::http::{HeaderMap, header};

/// A media type of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: every response has status 200, for clients older than the specification.
    Json,
    /// `application/graphql-response+json`: the status says whether the request was executed.
    GraphqlResponse,
    /// `text/event-stream`.
    EventStream,
    /// `multipart/mixed`, which Apollo's clients request for subscriptions.
    Multipart,
}

/// Picks the media types for a response; `None` if the client accepts none that the server offers.
///
/// JSON takes precedence over streams, whatever their weights: clients that send the same `Accept` with every operation
/// want a stream only for subscriptions, which cannot be answered as JSON.
///
/// A header without a valid range, such as an empty one or `*`, expresses no preference, like an absent header.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Accepted> {
    let values = headers.get_all(header::ACCEPT).iter();
    let text: Vec<String> = values
        .filter_map(|value| value.to_str().ok())
        .map(str::to_ascii_lowercase)
        .collect();
    let ranges: Vec<Range<'_>> = text
        .iter()
        .flat_map(|value| value.split(','))
        .filter_map(Range::parse)
        .collect();
    if ranges.is_empty() {
        return Some(Accepted {
            single: Some(Media::Json),
            stream: None,
        });
    }
    let weight = |media: &str| weight_of(&ranges, media);
    let graphql = weight("application/graphql-response+json");
    let json = weight("application/json");
    // If both are listed, the newer type wins a tie; `*/*` selects the older one.
    let names_graphql = ranges
        .iter()
        .any(|range| range.media == "application/graphql-response+json");
    let single = if graphql > 0 && (graphql > json || (graphql == json && names_graphql)) {
        Some(Media::GraphqlResponse)
    } else if json > 0 {
        Some(Media::Json)
    } else {
        None
    };
    let named = |media: &str| {
        ranges
            .iter()
            .any(|range| range.media == media && range.weight > 0)
    };
    // A range such as `multipart/*` selects a stream only if the client accepts no JSON.
    let (multipart, events) = (weight("multipart/mixed"), weight("text/event-stream"));
    let stream = if (named("multipart/mixed") && multipart >= events)
        || (single.is_none() && multipart > events)
    {
        Some(Media::Multipart)
    } else if events > 0 && (named("text/event-stream") || single.is_none()) {
        Some(Media::EventStream)
    } else {
        None
    };
    (single.is_some() || stream.is_some()).then_some(Accepted { single, stream })
}

/// The media types of a single response and of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) single: Option<Media>,
    pub(super) stream: Option<Media>,
}

struct Range<'a> {
    media: &'a str,
    /// The weight (`q`) in thousandths.
    weight: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| media.contains('/'))?;
        let weight = parts
            .find_map(|parameter| parameter.strip_prefix("q="))
            .map_or(Some(1.0), |weight| weight.parse::<f64>().ok())?;
        Some(Self {
            media,
            weight: (weight.clamp(0.0, 1.0) * 1000.0) as u32,
        })
    }
}

/// The weight of the most specific range that covers the type.
fn weight_of(ranges: &[Range<'_>], media: &str) -> u32 {
    let class = media.split('/').next().unwrap_or_default();
    let specificity = |range: &Range<'_>| {
        if range.media.eq_ignore_ascii_case(media) {
            Some(2)
        } else if range.media.strip_suffix("/*") == Some(class) {
            Some(1)
        } else {
            (range.media == "*/*").then_some(0)
        }
    };
    ranges
        .iter()
        .filter_map(|range| Some((specificity(range)?, range.weight)))
        .max()
        .map_or(0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_type_that_the_client_accepts_is_chosen() {
        use Media::{EventStream, GraphqlResponse, Json, Multipart};
        #[rustfmt::skip]
        let table: [(&str, Option<Media>, Option<Media>); 22] = [
            ("", Some(Json), None),
            ("*/*", Some(Json), None),
            ("application/*", Some(Json), None),
            ("application/json", Some(Json), None),
            ("application/graphql-response+json", Some(GraphqlResponse), None),
            ("application/graphql-response+json, application/json;q=0.9", Some(GraphqlResponse), None),
            ("application/json, application/graphql-response+json;q=0.5", Some(Json), None),
            ("text/event-stream", None, Some(EventStream)),
            ("application/graphql-response+json, application/json, text/event-stream", Some(GraphqlResponse), Some(EventStream)),
            ("multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\",application/json", Some(Json), Some(Multipart)),
            ("application/json;q=0, */*;q=0.1", Some(GraphqlResponse), None),
            ("application/json; charset=utf-8", Some(Json), None),
            ("Application/JSON;Q=0.5, Text/Event-Stream", Some(Json), Some(EventStream)),
            (", ,", Some(Json), None),
            ("*", Some(Json), None),
            ("json", Some(Json), None),
            ("image/png;q=high", Some(Json), None),
            ("multipart/mixed", None, Some(Multipart)),
            ("multipart/*", None, Some(Multipart)),
            ("multipart/*, text/*", None, Some(EventStream)),
            ("multipart/*, application/json", Some(Json), None),
            ("text/*", None, Some(EventStream)),
        ];
        for (accept, single, stream) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            let accepted = negotiate(&headers).unwrap();
            assert_eq!(
                (accepted.single, accepted.stream),
                (single, stream),
                "{accept}"
            );
        }
        for accept in [
            "image/png",
            "*, image/png",
            "multipart/*, multipart/mixed;q=0",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(negotiate(&headers), None, "{accept}");
        }
    }
}
