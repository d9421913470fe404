"""Speaks to a daemon through the vendor's published SDK and prints what the SDK saw, as one JSON object.

    sdk_client.py BASE_URL DEPLOYMENT_ID

Judges nothing: tests/it/sdk.rs compares what is printed with what it expects and with the stored rows.
"""

import json
import sys
import urllib.request
from datetime import datetime, timedelta, timezone

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException

BASE, DEPLOYMENT = sys.argv[1], sys.argv[2]
WEB, APP, NOBODY = (f"3f0b0d5e-8a6e-4f7a-9a2e-{n:012d}" for n in (1, 2, 3))

sdk.configuration.host = BASE
api = sdk.JourneyApi()


def now():
    return datetime.now(timezone.utc) - timedelta(seconds=1)


def naive():
    """UTC without saying so, as datetime.utcnow() makes it."""
    return now().replace(tzinfo=None)


def web_event(cookie, name="page_viewed", created=None, path="a", **more):
    event = sdk.WebEventRequest()
    event.customer_cookie_id = cookie
    event.event_name = name
    event.page = sdk.RequestPage()
    event.page.url = f"https://shop.example/{path}?utm_source=news&utm_campaign=spring"
    event.page.title = "T"
    event.user_agent_string = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"
    items = sdk.CustomEventAttribute()
    items.data_type = "NUMBER"
    items.value = "3"
    event.attributes = {"items_in_cart": items}
    event.created_date = created or now()
    for key, value in more.items():
        setattr(event, key, value)
    return event


def app_event(cookie, created=None):
    event = sdk.AppEventRequest()
    event.customer_cookie_id = cookie
    event.event_name = "screen_viewed"
    event.screen_name = "start"
    event.app = sdk.JourneyApp()
    event.app.name = "Shop"
    event.device = sdk.RequestDevice()
    event.device.category = "mobile"
    event.device.type = "phone"
    event.created_date = created or now()
    return event


def session(of):
    if of.session is None:
        return None
    return {
        "id": of.session.id,
        "events": of.session.event_count,
        "pages": getattr(of.session, "pageview_count", None),
        "screens": getattr(of.session, "screenview_count", None),
    }


def told_web(answer):
    attribute = answer.attributes["items_in_cart"]
    return {
        "event_name": answer.event_name,
        "session": session(answer),
        "browser": answer.browser.family,
        "hostname": answer.page.hostname,
        "campaign": answer.mkt_campaign.name,
        "attribute": [attribute.data_type, attribute.value],
        "customer_id_type": answer.customer_id_type,
        "authenticated": answer.authenticated,
    }


def told_app(answer):
    return {
        "event_name": answer.event_name,
        "session": session(answer),
        "id": answer.id,
        "screen_name": answer.screen_name,
        "app": answer.app.name,
    }


def outcome():
    return api.api_client.last_response.getheader("Wayside-Outcome")


def post_web(event, deployment=DEPLOYMENT):
    return api.post_journey_deployment_webevents(deployment, body=event)


def post_app(event):
    return api.post_journey_deployment_appevents(DEPLOYMENT, body=event)


def uncounted():
    web = {**told_web(post_web(web_event(NOBODY))), "outcome": outcome()}
    app = {**told_app(post_app(app_event(NOBODY))), "outcome": outcome()}
    return {"web": web, "app": app}


def give(cookie):
    body = json.dumps({"visitor": cookie, "action": "give", "purposes": ["measure"]}).encode()
    request = urllib.request.Request(f"{BASE}/v1/consent?site=shop", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def action(session_id):
    event = sdk.ActionEventRequest()
    event.session_id = session_id
    event.action_id = "a-1"
    event.action_state = "accepted"
    answer = api.post_journey_deployment_actionevent(DEPLOYMENT, event)
    return "empty" if answer is None else repr(answer)


def ping(session_id):
    answer = api.get_journey_deployment_customer_ping(
        DEPLOYMENT, WEB, dl="https://shop.example/", session_id=session_id)
    return {"actions": answer.actions, "poll": answer.poll_interval_milliseconds}


def error(call):
    try:
        call()
    except ApiException as raised:
        return {"status": raised.status, "body": json.loads(raised.body)}
    return {"status": 200, "body": {}}


def errors():
    wrong = sdk.WebEventDevice()
    wrong.category = "wristwatch"  # the SDK sends outdated_sdk_version for a word it does not know
    bad = sdk.RequestPage()
    bad.url, bad.title = "javascript:alert(1)", "T"
    return {
        "unknown_deployment": error(lambda: post_web(web_event(WEB), "nowhere")),
        "no_event_name": error(lambda: post_web(web_event(WEB, event_name=None))),
        "wrong_category": error(lambda: post_web(web_event(WEB, device=wrong))),
        "too_old": error(lambda: post_web(web_event(WEB, created=now() - timedelta(hours=2)))),
        "bad_address": error(lambda: post_web(web_event(WEB, page=bad))),
    }


def main():
    told = {"uncounted": uncounted()}
    give(WEB)
    give(APP)
    answers = [
        post_web(web_event(WEB)),
        post_web(web_event(WEB, created=naive(), path="b")),
        post_web(web_event(WEB, name="add_to_cart")),
    ]
    told["web"] = [told_web(answer) for answer in answers]
    told["created_aware"] = all(answer.session.created_date.tzinfo is not None for answer in answers)
    told["app"] = [told_app(post_app(app_event(APP))), told_app(post_app(app_event(APP, created=naive())))]
    told["action"] = action(answers[0].session.id)
    told["ping"] = ping(answers[0].session.id)
    told["errors"] = errors()
    print(json.dumps(told))


main()
