"""The kinds of channels that users may add: services of Apprise that are reached over HTTP or as a mail server.

What acts on this machine or speaks another protocol (syslog, dbus, gnome, windows, mqtt, xmpp …) is left to ALERT_URLS, which
whoever runs Taskyard sets. A kind that a later Apprise brings is not allowed before it stands here.
"""

from __future__ import annotations

SCHEMES = frozenset(
    (
        "46elks apprise apprises atalk azure bark barks betterstack bluesky brevo bsky bulksms bulkvs burstsms "
        "chanify clickatell clicksend cliq cm d7sms dapnet dingtalk discord dot eight00com elks emby embys enigma2 "
        "enigma2s evolution evolutions exotel fcm feishu firehydrant flock flowtriq flowtriqs fluxer fluxers form "
        "forms freemobile gchat github goalert goalerts gorush gorushs gotify gotifys groundmail groupme guilded "
        "gupshup hassio hassios httpsms humhub humhubs ifttt ilert incidentio infobip jellyfin jellyfins jira join "
        "json jsons kakao kakaotalk kaleyra kavenegar klr kodi kodis kook kudosity kumulos lametric lametrics lark "
        "lauther lfg line mailersend mailgun mailto mailtos mastodon mastodons matrix matrixs misskey misskeys mmost "
        "mmosts mobilemessage mobilemsg msg91 msgbird ncloud nclouds nctalk nctalks nexmo notica noticas notifiarr "
        "notifico notificos notifyre ntfy ntfys o365 octopush onebot onebots onesignal opsgenie pagerduty pagertree "
        "parsep parseps pbul pinglet pinglets pingram pjet pjets plivo postmark pover prowl psafer psafers push "
        "pushdeer pushdeers pushed pushme pushplus pushward pushy qq reddit resend revolt ringc rocket rockets ryver "
        "schan sendgrid sendpulse serwersms ses session sessions seven sfr signal signalgrid signals signl4 "
        "simplepush sinch slack smsc smseagle smseagles smsmanager smsmgr smstunnel smtp2go sns sogs sparkpost spike "
        "splunk spugpush spush squadcast stackfield strmlabs synology synologys telesign telnyx tgram threema toot "
        "toots trigv trigvs tweet twilio twist twitter viber victorops voipms vonage webex wechat wecom wecombot "
        "whapi whatsapp workflow workflows wpush wxpusher wxteams x xbmc xbmcs xmatters xml xmls youlmk zalo zcliq "
        "zohocliq zoom zulip "
    ).split()
)


def scheme_of(url: str) -> str:
    """Return the kind of a channel, as Apprise reads it from its address."""
    return url.strip().partition(":")[0].lower()
