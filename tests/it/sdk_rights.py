"""Drives the GDPR API through the vendor's published SDK and prints what the SDK saw, as one JSON object.

    sdk_rights.py BASE_URL CLIENT_ID CLIENT_SECRET VISITOR MAIL

Judges nothing: tests/it/sdk_rights.rs compares what is printed with what it expects and with the stored rows.
"""

import json
import sys
import urllib.request

import PureCloudPlatformClientV2 as sdk
from PureCloudPlatformClientV2.rest import ApiException

BASE, CLIENT, SECRET, VISITOR, MAIL = sys.argv[1:6]

sdk.configuration.host = BASE
client = sdk.api_client.ApiClient().get_client_credentials_token(CLIENT, SECRET)
api = sdk.GeneralDataProtectionRegulationApi(client)


def subject(visitor=None, mail=None):
    out = sdk.GDPRSubject()
    if visitor:
        out.journey_customer = sdk.GDPRJourneyCustomer()
        out.journey_customer.type, out.journey_customer.id = "cookie", visitor
    if mail:
        out.email_addresses = [mail]
    return out


def request(kind, about, terms=None):
    out = sdk.GDPRRequest()
    out.request_type, out.subject = kind, about
    if terms:
        out.replacement_terms = terms
    return out


def term(kind, existing, updated):
    out = sdk.ReplacementTerm()
    out.type, out.existing_value, out.updated_value = kind, existing, updated
    return out


def told(answer):
    customer = answer.subject.journey_customer if answer.subject else None
    return {
        "id": answer.id,
        "type": answer.request_type,
        "status": answer.status,
        "created": answer.created_date.tzinfo is not None,
        "results": len(answer.results_urls or []),
        "subject": customer.id if customer else None,
    }


def download(url):
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {client.access_token}"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return json.load(answer)


def error(call):
    try:
        call()
    except ApiException as raised:
        return {"status": raised.status, "body": json.loads(raised.body)}
    return {"status": 200, "body": {}}


def login_fails():
    try:
        sdk.api_client.ApiClient().get_client_credentials_token(CLIENT, "wrong")
    except ApiException as raised:
        return raised.status
    return 200


def main():
    out = {}
    found = api.get_gdpr_subjects("EMAIL", MAIL)
    out["subjects"] = [found.total, [one.journey_customer.id for one in found.entities]]
    out["searches"] = {text: api.get_gdpr_subjects(kind, text).total for kind, text in (
        ("NAME", "anna EXAMPLE"), ("NAME", "Example, Anna"), ("NAME", "Anna"), ("NAME", "Berta Example"),
        ("ADDRESS", "1 main st town"), ("ADDRESS", "2 Main St., Town"))}
    export = api.post_gdpr_requests(request("GDPR_EXPORT", subject(VISITOR, MAIL)))
    out["export"] = told(export)
    out["archive"] = download(export.results_url)
    new = MAIL.replace("old", "new")
    update = api.post_gdpr_requests(request("GDPR_UPDATE", subject(VISITOR, MAIL), [term("EMAIL", MAIL, new)]))
    out["update"] = told(update)
    out["updated"] = api.get_gdpr_subjects("EMAIL", new).total
    delete = api.post_gdpr_requests(request("GDPR_DELETE", subject(VISITOR)), delete_confirmed=True)
    out["delete"] = told(delete)
    out["again"] = told(api.get_gdpr_request(delete.id))
    page = api.get_gdpr_requests(page_size=2, page_number=1)
    out["list"] = [page.total, page.page_count, [one.request_type for one in page.entities], page.next_uri is not None]
    out["errors"] = {
        "unconfirmed": error(lambda: api.post_gdpr_requests(request("GDPR_DELETE", subject(VISITOR)))),
        "terms": error(lambda: api.post_gdpr_requests(
            request("GDPR_EXPORT", subject(VISITOR), [term("EMAIL", "a", "b")]))),
        "kind": error(lambda: api.post_gdpr_requests(request("GDPR_FORGET", subject(VISITOR)))),
        "nobody": error(lambda: api.post_gdpr_requests(request("GDPR_EXPORT", subject()))),
        "unknown": error(lambda: api.get_gdpr_request("0192f3a0-0000-7000-8000-000000000001")),
        "search": error(lambda: api.get_gdpr_subjects("SHOE_SIZE", "44")),
        "anonymous": error(lambda: sdk.GeneralDataProtectionRegulationApi(
            sdk.api_client.ApiClient()).get_gdpr_requests()),
    }
    out["login"] = login_fails()
    print(json.dumps(out))


main()
