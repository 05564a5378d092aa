//! The words and phrases that mean opt-out, opt-in and help, by language, each group with where it comes from.
//!
//! Data only: it must not hold a whole sentence that somebody once wrote, but the words and the grammar such sentences
//! are made of. Everything is written as people write it and normalised when it is loaded.

use super::ConsentEvent::{self, Help, OptIn, OptOut};

/// A language by its code in ISO 639-1; `None` for what is of none in particular.
pub(crate) type Language = Option<&'static str>;

const AR: Language = Some("ar");
const BG: Language = Some("bg");
const BN: Language = Some("bn");
const CS: Language = Some("cs");
const DA: Language = Some("da");
const DE: Language = Some("de");
const EL: Language = Some("el");
const EN: Language = Some("en");
const ES: Language = Some("es");
const ET: Language = Some("et");
const FA: Language = Some("fa");
const FI: Language = Some("fi");
const FR: Language = Some("fr");
const GU: Language = Some("gu");
const HE: Language = Some("he");
const HI: Language = Some("hi");
const HR: Language = Some("hr");
const HU: Language = Some("hu");
const ID: Language = Some("id");
const IS: Language = Some("is");
const IT: Language = Some("it");
const JA: Language = Some("ja");
const KO: Language = Some("ko");
const LT: Language = Some("lt");
const LV: Language = Some("lv");
const MR: Language = Some("mr");
const NL: Language = Some("nl");
const NO: Language = Some("no");
const PA: Language = Some("pa");
const PL: Language = Some("pl");
const PT: Language = Some("pt");
const RO: Language = Some("ro");
const RU: Language = Some("ru");
const SK: Language = Some("sk");
const SL: Language = Some("sl");
const SR: Language = Some("sr");
const SV: Language = Some("sv");
const SW: Language = Some("sw");
const TA: Language = Some("ta");
const TE: Language = Some("te");
const TH: Language = Some("th");
const TL: Language = Some("tl");
const TR: Language = Some("tr");
const UK: Language = Some("uk");
const UR: Language = Some("ur");
const VI: Language = Some("vi");
const ZH: Language = Some("zh");

/// How much a word says by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Strength {
    /// Means the messaging and nothing else; no setting takes it away.
    Fixed,
    /// Means the messaging unless another object is named; may be exempted by the operator.
    Strong,
    /// Has other uses in business (cancel *what?*): only alone or with politeness; may be exempted.
    Weak,
}

/// A group of keywords of one meaning.
pub(crate) struct Group {
    /// The language (ISO 639-1), for words that belong to one.
    pub(crate) language: Language,
    pub(crate) event: ConsentEvent,
    pub(crate) strength: Strength,
    /// Separated by commas and line ends; read with [`list`].
    pub(crate) words: &'static str,
}

const fn group(language: Option<&'static str>, event: ConsentEvent, strength: Strength, words: &'static str) -> Group {
    Group {
        language,
        event,
        strength,
        words,
    }
}

/// The entries of a list that is written with commas.
pub(crate) fn list(words: &'static str) -> impl Iterator<Item = &'static str> {
    words.split([',', '\n']).map(str::trim).filter(|word| !word.is_empty())
}

/// All keywords. Where two groups name a word, the first decides. Words that belong to several languages are listed with the
/// one that is first here; those that law and carriers ask for everywhere, and those of no language, have none.
pub(crate) const KEYWORDS: &[Group] = &[
    // 47 CFR 64.1200(a)(10); CTIA Messaging Principles 5.1.3; Twilio, Telnyx, Plivo, AWS default lists.
    group(None, OptOut, Strength::Fixed, "stop, stopall, stop all"),
    group(
        EN,
        OptOut,
        Strength::Fixed,
        "unsubscribe, unsubscribe all, opt out, optout, opt-out all, optoutall",
    ),
    group(EN, OptOut, Strength::Weak, "cancel, end, quit, revoke"),
    // Plivo UNSUB (and Brevo for Norway); old footers; spellings of "unsubscribe" in two words. STOP SMS is also what
    // French footers ask for.
    group(
        None,
        OptOut,
        Strength::Strong,
        "stop sms, stop mms, stopsms, unsub, stop promo, stop promos",
    ),
    group(
        EN,
        OptOut,
        Strength::Strong,
        "
        un subscribe, unsubs, stop text, stop texts, opted out, opting out, cancel all, end all,
        quit all",
    ),
    // AWS REMOVE; EXIT, CEASE: pleaded as revocations in 2025 complaints.
    group(
        EN,
        OptOut,
        Strength::Weak,
        "remove, exit, cease, cease and desist, desist, discontinue",
    ),
    // Canada: mandatory on short codes (CWTA); Twilio Proxy adds the other spellings.
    group(FR, OptOut, Strength::Fixed, "arrêt, arrête, arrett"),
    // French; "STOP PUB" stands in French footers.
    group(
        FR,
        OptOut,
        Strength::Strong,
        "
        arrêts, arrêtez, arrêter, désabonner, désabonnez, désabonnement, désabonne, désabonnez moi,
        désabonne moi, me désabonner, se désabonner, désinscrire, désinscription, désinscrivez moi,
        désinscris moi, me désinscrire, stop pub, stoppub",
    ),
    group(
        FR,
        OptOut,
        Strength::Weak,
        "annuler, annule, annulez, résilier, fin, terminer, supprimer, supprimez, ça suffit",
    ),
    // Spanish. BAJA is customary in Spain and Latin America.
    group(
        ES,
        OptOut,
        Strength::Strong,
        "
        dar de baja, darme de baja, dame de baja, deme de baja, denme de baja, darse de baja,
        de baja, baja sms, desuscribir, desuscribirme, desuscribirse, desuscríbeme, desuscripción,
        desinscribir, desinscribirme, cancelar suscripción, anular suscripción, cancelar mensajes",
    ),
    group(
        ES,
        OptOut,
        Strength::Weak,
        "
        baja, parar, pare, paren, para, detener, detenga, detengan, detente, deten, alto, cancelar,
        cancela, cancele, cancelen, anular, salir, terminar, finalizar, basta, basta ya, no más,
        eliminar, elimíname, quitar, quítame, bórrame, borrar, desactivar, desistir",
    ),
    // German.
    group(
        DE,
        OptOut,
        Strength::Strong,
        "stopp, abmelden, abmeldung, abbestellen, austragen, abmelden bitte, newsletter abmelden",
    ),
    group(
        DE,
        OptOut,
        Strength::Weak,
        "
        stoppen, stoppt, kündigen, kündigung, beenden, ende, aufhören, aufhoeren, löschen, abbrechen,
        schluss, widerruf",
    ),
    // Italian. "fine" is left out: it is English for "all right".
    group(
        IT,
        OptOut,
        Strength::Strong,
        "
        disiscrivi, disiscrivimi, disiscrivere, disiscrizione, disiscrivermi, disiscrivetemi,
        cancellami, cancellatemi, rimuovimi, basta sms, annulla iscrizione, annullare iscrizione,
        cancella iscrizione, cancellare iscrizione, annulla l'iscrizione",
    ),
    group(
        IT,
        OptOut,
        Strength::Weak,
        "
        cancella, cancellare, cancellazione, annulla, annullare, ferma, fermare, fermate, fermati,
        smetti, smettila, smettetela, rimuovi, revoca, disdetta, esci, arresta, interrompi",
    ),
    // Portuguese.
    group(
        PT,
        OptOut,
        Strength::Strong,
        "
        descadastrar, descadastre, descadastro, descadastra, me descadastre, desinscrever,
        desinscreva, cancelar inscrição, cancelar assinatura, sair da lista, desinscrição,
        cancelar sms",
    ),
    group(
        PT,
        OptOut,
        Strength::Weak,
        "
        sair, remover, remova, me remova, fim, encerrar, desativar, excluir, chega, interromper,
        cancelamento",
    ),
    // Dutch and Afrikaans.
    group(
        NL,
        OptOut,
        Strength::Strong,
        "
        afmelden, afmelding, meld af, meld mij af, uitschrijven, uitschrijving, schrijf me uit,
        schrijf mij uit, teken uit",
    ),
    group(
        NL,
        OptOut,
        Strength::Weak,
        "
        opzeggen, annuleren, annuleer, beëindigen, einde, stoppen maar, verwijderen, verwijder,
        kanselleer",
    ),
    // Swedish.
    group(
        SV,
        OptOut,
        Strength::Strong,
        "avregistrera, avprenumerera, avanmäl, avanmälan, stoppa",
    ),
    group(SV, OptOut, Strength::Weak, "avsluta, avbryt, avbeställ, sluta, säg upp"),
    // Danish.
    group(
        DA,
        OptOut,
        Strength::Strong,
        "afmeld, afmeld mig, meld mig af, frameld, framelding, meld mig fra",
    ),
    group(DA, OptOut, Strength::Weak, "afslut, ophør"),
    // Norwegian.
    group(
        NO,
        OptOut,
        Strength::Strong,
        "avmeld, avmelding, avmeld meg, meld av, meld meg av, avregistrer",
    ),
    group(NO, OptOut, Strength::Weak, "avslutt, avbestill, slutt, opphør"),
    // Finnish. "peru" is left out: it is a country.
    group(FI, OptOut, Strength::Strong, "lopeta"),
    group(FI, OptOut, Strength::Weak, "lopetus, lopettaa, peruuta, poista, poistu"),
    // Icelandic.
    group(IS, OptOut, Strength::Strong, "afskrá, afskráning"),
    group(IS, OptOut, Strength::Weak, "hætta"),
    // Polish.
    group(
        PL,
        OptOut,
        Strength::Strong,
        "wypisz, wypisz mnie, wypisuję się, wypisać, rezygnuję, rezygnacja",
    ),
    group(
        PL,
        OptOut,
        Strength::Weak,
        "zatrzymaj, przestań, koniec, anuluj, anulować, usuń, zrezygnuj",
    ),
    // Czech and Slovak; most of these words are the same in both without their accents.
    group(
        CS,
        OptOut,
        Strength::Strong,
        "odhlásit, odhlásit se, odhlas, odhlaste, odhlášení",
    ),
    group(
        CS,
        OptOut,
        Strength::Weak,
        "zrušit, zruš, konec, ukončit, přestaňte, zastavit",
    ),
    group(SK, OptOut, Strength::Strong, "odhlásiť, odhlásiť sa"),
    group(SK, OptOut, Strength::Weak, "zrušiť, ukončiť, zastaviť"),
    // Hungarian.
    group(
        HU,
        OptOut,
        Strength::Strong,
        "leiratkozás, leiratkozom, leiratkozni, leiratkozik",
    ),
    group(
        HU,
        OptOut,
        Strength::Weak,
        "megállj, állj, törlés, törölj, lemondás, lemondom",
    ),
    // Romanian.
    group(
        RO,
        OptOut,
        Strength::Strong,
        "dezabonare, dezabonează, dezabonați, dezabonează mă, dezabonez",
    ),
    group(
        RO,
        OptOut,
        Strength::Weak,
        "oprește, opriți, oprire, anulează, anulare, renunț",
    ),
    // Croatian, Bosnian and Serbian in Latin letters; Slovene.
    group(HR, OptOut, Strength::Strong, "odjava, odjavi, odjavi se, odjavite me"),
    group(HR, OptOut, Strength::Weak, "zaustavi, prekini, prestani, otkaži"),
    group(SL, OptOut, Strength::Weak, "ustavi"),
    // Lithuanian, Latvian, Estonian.
    group(LT, OptOut, Strength::Strong, "atsisakau, atsisakyti"),
    group(LT, OptOut, Strength::Weak, "stabdyti, nebenoriu"),
    group(LV, OptOut, Strength::Strong, "atrakstīties"),
    group(LV, OptOut, Strength::Weak, "apturēt"),
    group(ET, OptOut, Strength::Strong, "loobu"),
    group(ET, OptOut, Strength::Weak, "lõpeta, peata"),
    // Turkish. RET is what Turkish footers ask for.
    group(
        TR,
        OptOut,
        Strength::Strong,
        "
        abonelikten çık, aboneliği iptal et, aboneliğimi iptal et, listeden çık, sms istemiyorum,
        mesaj istemiyorum",
    ),
    group(
        TR,
        OptOut,
        Strength::Weak,
        "iptal, iptal et, dur, durdur, durdurun, ret, çık, çıkış, istemiyorum",
    ),
    // Greek.
    group(
        EL,
        OptOut,
        Strength::Strong,
        "στοπ, απεγγραφή, διαγραφή, κατάργηση εγγραφής",
    ),
    group(
        EL,
        OptOut,
        Strength::Weak,
        "σταμάτα, σταματήστε, ακύρωση, διακοπή, τέλος, έξοδος",
    ),
    // Russian. СТОП is written so in all languages with these letters.
    group(None, OptOut, Strength::Strong, "стоп"),
    group(
        RU,
        OptOut,
        Strength::Strong,
        "
        отписаться, отписка, отпишите, отпишите меня, отпиши, отпиши меня, отписать, отпишись,
        отписываюсь, отказаться от рассылки, отключить рассылку",
    ),
    group(
        RU,
        OptOut,
        Strength::Weak,
        "
        отмена, отменить, хватит, прекратить, прекратите, прекрати, остановить, остановите, удалить,
        удалите, отказ, отказаться, отключить, отключите",
    ),
    // Ukrainian.
    group(
        UK,
        OptOut,
        Strength::Strong,
        "відписатися, відписка, відпишіть, відпишіть мене, відписати",
    ),
    group(
        UK,
        OptOut,
        Strength::Weak,
        "скасувати, зупинити, зупиніть, припинити, припиніть, відмова, відмовитися, досить",
    ),
    // Bulgarian.
    group(BG, OptOut, Strength::Strong, "отписване, отпиши ме"),
    group(BG, OptOut, Strength::Weak, "спри, спрете"),
    // Serbian and Macedonian.
    group(SR, OptOut, Strength::Strong, "одјава, одјави"),
    group(SR, OptOut, Strength::Weak, "престани, заустави"),
    // Arabic, with and without hamza.
    group(
        AR,
        OptOut,
        Strength::Strong,
        "
        إلغاء الاشتراك, الغاء الاشتراك, إلغاء اشتراك, الغاء اشتراك, ألغ الاشتراك, الغي الاشتراك,
        إيقاف الرسائل, ايقاف الرسائل, أوقف الرسائل, اوقف الرسائل, أوقفوا الرسائل, اوقفوا الرسائل,
        ستوب",
    ),
    group(
        AR,
        OptOut,
        Strength::Weak,
        "
        إيقاف, ايقاف, توقف, توقفوا, قف, أوقف, اوقف, أوقفوا, اوقفوا, وقف, إلغاء, الغاء, إنهاء, انهاء,
        حذف, كفى",
    ),
    // Persian and Urdu.
    group(FA, OptOut, Strength::Strong, "لغو اشتراک"),
    group(FA, OptOut, Strength::Weak, "لغو, قطع"),
    group(UR, OptOut, Strength::Weak, "بند, بند کرو, بند کریں, روکو, روکیں, ختم"),
    // Hebrew: הסר is what Israeli footers ask for.
    group(
        HE,
        OptOut,
        Strength::Strong,
        "הסר, הסרה, הסירו, הסירו אותי, הסר אותי, תסירו אותי, להסרה, להסיר, הסירני, הסר אותי מהרשימה",
    ),
    group(
        HE,
        OptOut,
        Strength::Weak,
        "עצור, עצרו, די, הפסק, הפסיקו, תפסיקו, תפסיק, בטל, ביטול, סטופ",
    ),
    // Hindi, in its own and in Latin letters; Marathi.
    group(
        HI,
        OptOut,
        Strength::Strong,
        "
        बंद करो, बंद करें, बंद करे, बंद कीजिए, बंद कर दो, बन्द करो, बन्द करें, रोकें, रोको, रोकिए,
        रोक दो, स्टॉप, सदस्यता समाप्त करें, सदस्यता रद्द करें, संदेश बंद करें, मैसेज बंद करो,
        band karo, bandh karo, band kar do, msg band karo, message band karo, sms band karo",
    ),
    group(HI, OptOut, Strength::Weak, "बंद, बन्द, रद्द करें, रद्द, ruko"),
    group(MR, OptOut, Strength::Strong, "थांबवा, बंद करा"),
    // Bengali, Tamil, Telugu, Gujarati, Punjabi.
    group(BN, OptOut, Strength::Strong, "বন্ধ করুন, বন্ধ করো, বন্ধ কর, স্টপ"),
    group(BN, OptOut, Strength::Weak, "বন্ধ, থামুন"),
    group(TA, OptOut, Strength::Strong, "நிறுத்து, நிறுத்தவும்"),
    group(TE, OptOut, Strength::Strong, "ఆపు, ఆపండి"),
    group(GU, OptOut, Strength::Strong, "બંધ કરો"),
    group(GU, OptOut, Strength::Weak, "થોભો"),
    group(PA, OptOut, Strength::Strong, "ਬੰਦ ਕਰੋ"),
    group(PA, OptOut, Strength::Weak, "ਬੰਦ"),
    // Thai.
    group(
        TH,
        OptOut,
        Strength::Strong,
        "ยกเลิก, หยุดส่ง, ยกเลิกรับข้อความ, ยกเลิกรับข่าวสาร, ยกเลิกการสมัคร, เลิกรับ, หยุดส่งข้อความ",
    ),
    group(TH, OptOut, Strength::Weak, "หยุด, เลิก"),
    // Vietnamese; TU CHOI is what Vietnamese footers ask for.
    group(
        VI,
        OptOut,
        Strength::Strong,
        "hủy đăng ký, huỷ đăng ký, hủy tin nhắn, từ chối, ngừng gửi, dừng gửi",
    ),
    group(VI, OptOut, Strength::Weak, "hủy, huỷ, dừng, dừng lại, ngừng, thôi"),
    // Indonesian and Malay.
    group(
        ID,
        OptOut,
        Strength::Strong,
        "berhenti, berhenti langganan, berhenti berlangganan, batal langganan, unreg, henti, hentikan",
    ),
    group(ID, OptOut, Strength::Weak, "batal, batalkan, keluar, tamat, stopkan"),
    // Filipino.
    group(TL, OptOut, Strength::Strong, "itigil, ihinto"),
    group(TL, OptOut, Strength::Weak, "tigil, hinto, tama na"),
    // Swahili. "acha" is left out: it is "all right" in Hindi and Urdu.
    group(SW, OptOut, Strength::Weak, "simama, sitisha, komesha, ondoa"),
    // Chinese; 退订 and TD are what Chinese footers ask for, and AWS lists TD everywhere.
    group(None, OptOut, Strength::Weak, "td"),
    group(
        ZH,
        OptOut,
        Strength::Strong,
        "
        退订, 退訂, 取消订阅, 取消訂閱, 拒收, 停止发送, 停止發送, 停发, 不再接收, 不要再发,
        不要再发了, 别再发, 别再发了, 别发了, 不要再發, 別再發",
    ),
    group(
        ZH,
        OptOut,
        Strength::Weak,
        "停止, 停, 取消, 退出, 结束, 結束, 终止, 終止, 解除, 中止",
    ),
    // Japanese.
    group(
        JA,
        OptOut,
        Strength::Strong,
        "
        配信停止, 配信を停止, 配信解除, 配信不要, 登録解除, 購読解除, 購読停止, 受信拒否, 退会,
        送らないで",
    ),
    group(
        JA,
        OptOut,
        Strength::Weak,
        "解約, 終了, やめて, 止めて, ストップ, キャンセル",
    ),
    // Korean.
    group(
        KO,
        OptOut,
        Strength::Strong,
        "수신거부, 수신 거부, 무료거부, 무료수신거부, 구독취소, 구독 취소, 구독해지, 수신중단",
    ),
    group(
        KO,
        OptOut,
        Strength::Weak,
        "중지, 정지, 해지, 취소, 그만, 중단, 거부, 스톱, 스탑, 멈춰",
    ),
    // Opt-in: Twilio, Telnyx and Plivo defaults; Adobe SUBSCRIBE. YES and GO answer other questions too: not built in.
    group(
        None,
        OptIn,
        Strength::Fixed,
        "start, unstop, startall, start all, un stop",
    ),
    group(
        EN,
        OptIn,
        Strength::Weak,
        "
        subscribe, resubscribe, re subscribe, subscribe me, resubscribe me, opt in, optin,
        opt me in, opt back in, opt me back in, resume, unstopall, unstop all",
    ),
    group(
        FR,
        OptIn,
        Strength::Weak,
        "démarrer, reprendre, réabonner, s'abonner, m'abonner, me réabonner",
    ),
    group(
        ES,
        OptIn,
        Strength::Weak,
        "
        alta, dar de alta, darme de alta, iniciar, comenzar, empezar, reanudar, suscribir,
        suscribirme, suscribirse, suscríbeme, inscribirme",
    ),
    group(DE, OptIn, Strength::Weak, "anmelden, abonnieren, starten"),
    group(IT, OptIn, Strength::Weak, "iscrivi, iscrivimi"),
    group(PT, OptIn, Strength::Weak, "inscrever, começar"),
    group(NL, OptIn, Strength::Weak, "aanmelden"),
    group(DA, OptIn, Strength::Weak, "tilmeld"),
    group(NO, OptIn, Strength::Weak, "påmeld"),
    group(SV, OptIn, Strength::Weak, "starta"),
    group(FI, OptIn, Strength::Weak, "aloita"),
    group(PL, OptIn, Strength::Weak, "zapisz"),
    group(CS, OptIn, Strength::Weak, "přihlásit"),
    group(HU, OptIn, Strength::Weak, "feliratkozás"),
    group(RO, OptIn, Strength::Weak, "abonare"),
    group(TR, OptIn, Strength::Weak, "başlat"),
    group(EL, OptIn, Strength::Weak, "έναρξη"),
    group(RU, OptIn, Strength::Weak, "старт, подписаться"),
    group(UK, OptIn, Strength::Weak, "підписатися"),
    group(AR, OptIn, Strength::Weak, "ابدأ, ابدا, بدء, اشتراك"),
    group(HE, OptIn, Strength::Weak, "התחל"),
    group(HI, OptIn, Strength::Weak, "हां शुरू करें, शुरू, शुरू करें"),
    group(TH, OptIn, Strength::Weak, "เริ่ม, สมัคร"),
    group(VI, OptIn, Strength::Weak, "đăng ký, bắt đầu"),
    group(ID, OptIn, Strength::Weak, "mulai, daftar"),
    group(ZH, OptIn, Strength::Weak, "订阅, 訂閱, 开始"),
    group(JA, OptIn, Strength::Weak, "開始, 配信開始, 再開"),
    group(KO, OptIn, Strength::Weak, "시작, 수신동의"),
    // Help: CTIA (HELP, INFO); Canada (HELP, AIDE, INFO), where AIDE is answered in French.
    group(None, Help, Strength::Fixed, "help"),
    group(FR, Help, Strength::Fixed, "aide"),
    group(FR, Help, Strength::Weak, "aidez moi, aide moi"),
    group(None, Help, Strength::Weak, "info, infos"),
    group(ES, Help, Strength::Weak, "ayuda, información, ayúdame, ayúdeme"),
    group(DE, Help, Strength::Weak, "hilfe, hilf mir, helfen sie mir"),
    group(IT, Help, Strength::Weak, "aiuto, aiutami"),
    group(PT, Help, Strength::Weak, "ajuda"),
    group(NL, Help, Strength::Weak, "hulp"),
    group(SV, Help, Strength::Weak, "hjälp"),
    group(NO, Help, Strength::Weak, "hjelp"),
    group(DA, Help, Strength::Weak, "hjælp"),
    group(FI, Help, Strength::Weak, "apua"),
    group(PL, Help, Strength::Weak, "pomoc"),
    group(HR, Help, Strength::Weak, "pomoč"),
    group(HU, Help, Strength::Weak, "segítség, súgó"),
    group(RO, Help, Strength::Weak, "ajutor"),
    group(TR, Help, Strength::Weak, "yardım"),
    group(EL, Help, Strength::Weak, "βοήθεια"),
    group(RU, Help, Strength::Weak, "помощь, справка"),
    group(UK, Help, Strength::Weak, "допомога"),
    group(BG, Help, Strength::Weak, "помощ"),
    group(AR, Help, Strength::Weak, "مساعدة"),
    group(FA, Help, Strength::Weak, "راهنما"),
    group(UR, Help, Strength::Weak, "مدد"),
    group(HE, Help, Strength::Weak, "עזרה"),
    group(HI, Help, Strength::Weak, "मदद, सहायता"),
    group(BN, Help, Strength::Weak, "সাহায্য"),
    group(TA, Help, Strength::Weak, "உதவி"),
    group(TH, Help, Strength::Weak, "ช่วยเหลือ"),
    group(VI, Help, Strength::Weak, "trợ giúp"),
    group(ID, Help, Strength::Weak, "bantuan"),
    group(TL, Help, Strength::Weak, "tulong"),
    group(SW, Help, Strength::Weak, "msaada"),
    group(ZH, Help, Strength::Weak, "帮助, 幫助"),
    group(JA, Help, Strength::Weak, "ヘルプ"),
    group(KO, Help, Strength::Weak, "도움말, 도움"),
];

/// Keywords in scripts without spaces carry politeness inside the word: taken off either end before the lookup.
pub(crate) const AFFIXES: &str = "
    请, 請, 帮我, 幫我, 我要, 谢谢, 謝謝, 了, 吧, 短信, 簡訊, してください, して下さい, お願いします,
    をお願いします, を希望します, 希望, します, ください, 下さい, 해주세요, 해줘, 하세요, 합니다,
    부탁드립니다, ครับ, ค่ะ, คะ, ด้วย, ช่วย, กรุณา, ขอ";

/// The same languages, by their codes, inside a longer text: the messages are the object.
pub(crate) const UNSPACED: &[(&str, &str)] = &[
    (
        "zh",
        "
        退订, 退訂, 取消订阅, 取消訂閱, 不要再发, 别再发, 别发了, 不要给我发, 别给我发, 不要再给我发, 别再给我发, 停止发, 停止發,
        不想收到, 不想再收到, 不要發, 不要再發, 別再發, 拒收, 不再接收, 请勿再发, 请不要发",
    ),
    (
        "ja",
        "
        配信停止, 配信を停止, 配信をやめ, 配信を止め, 送らないで, 送信しないで, 送ってこないで, 連絡しないで, メッセージを止め, メールを止め,
        登録解除, 購読を解除",
    ),
    (
        "ko",
        "
        수신거부, 보내지마, 그만보내, 문자보내지, 연락하지마, 문자그만, 보내지말, 받고싶지않, 메시지중단, 구독취소",
    ),
    (
        "th",
        "
        เลิกส่ง, หยุดส่ง, อย่าส่ง, ไม่ต้องส่ง, ไม่ต้องการรับ, ไม่อยากรับ,
        ไม่รับข้อความ, ยกเลิกรับ, ยกเลิกการรับ",
    ),
];

/// What makes of [`UNSPACED`] an instruction or its opposite.
pub(crate) const UNSPACED_GUARDS: &str = "
    回复, 回覆, 回td, 回t, 返信, 답장, 회신, ตอบกลับ, พิมพ์, 不退订, 不要退订, 别退订, 不是退订,
    已退订, 不要停止, 別停, 别停";

/// Typing errors of "stop", "unsubscribe", "cancel" and "opt out" that are no words of their own (Klaviyo and Braze name
/// SOTP, STPO, STOPPPP). Repeated letters and slips inside "unsubscribe" are recognised by rule.
pub(crate) const MISSPELLINGS: &[(&str, &str)] = &[
    (
        "stop",
        "
        sotp, stpo, tsop, tosp, stp, stopo, stopl, stoip, stiop, srop, styop, sytop, stpop, sotop,
        stop0, st0p, stip, stkp, stlp, syop, sfop, sgop, wtop, xtop, ztop, sto, stopr, stopt, atsop, dtop, stpp, stopm",
    ),
    (
        "unsubscribe",
        "
        unscribe, unsuscribe, unsubcribe, unsubsribe, unsuscrib, unsubscrible, umsubscribe,
        insubscribe, unsunscribe, onsubscribe",
    ),
    (
        "opt out",
        "
        opt ou, optuot, otpout, opout, op out, opt oit, opt iut, opt oyt, opt ot, obt out, otp out,
        opt put out",
    ),
    ("cancel", "cancle, cansel, cancal, canel, cancell"),
    ("quit", "qiut, qyit, quti"),
    ("remove", "remvoe, reomve"),
];

/// What follows "stop" when it is typed without the space, as in old footers.
pub(crate) const RUN_ON: &str = "
    2end, 2stop, 2quit, 2cancel, 2optout, 2unsubscribe, toend, tostop, toquit, tocancel, tooptout,
    now, please, pls, plz, it, this, all, sms, text, texts, texting, textingme, textme, msg, msgs,
    messages, messaging, messagingme, sending, spam, calling, callingme, thanks, thankyou, thx, stop,
    ads, promo, marketing";

/// Words that add nothing to a keyword: politeness, in any language. Allowed around every keyword.
pub(crate) const POLITE: &str = "
    please, pls, plz, thnks, thanx, thank you so much, plse, plss, pleas, pleasee, plese, plez, pleaseee, kindly, thanks, thank you,
    thank u, thankyou, thx, thnx, tks, ty, tnx, tysm, cheers, now, many thanks, thanks you,
    por favor, porfavor, porfa, gracias, muchas gracias, merci, merci beaucoup, svp, s'il vous plaît,
    s il vous plaît, s'il te plaît, s il te plaît, s'il vous plait merci, bitte, danke, vielen dank,
    bitte sehr, per favore, per piacere, grazie, grazie mille, obrigado, obrigada, por gentileza,
    alsjeblieft, alstublieft, aub, bedankt, dank je, dank u, graag, tack, tak, takk, venligst,
    vennligst, vær så snill, kiitos, proszę, dziękuję, prosím, děkuji, ďakujem, kérem, köszönöm,
    vă rog, mulțumesc, hvala, molim, lütfen, teşekkürler, παρακαλώ, ευχαριστώ, пожалуйста, спасибо,
    будь ласка, дякую, моля, من فضلك, من فضلكم, لو سمحت, شكرا, رجاء, لطفا, בבקשה, תודה, कृपया,
    धन्यवाद, प्लीज, দয়া করে, tolong, terima kasih, mohon, xin, vui lòng, cảm ơn, làm ơn, po,
    salamat, tafadhali, asante, ครับ, ค่ะ, คะ, ด้วย, 请, 谢谢, 請, 謝謝, お願いします, 부탁드립니다,
    감사합니다, ji";

/// Words that only add emphasis, allowed around opt-out words that have no other object. "no" is not here: "no stop"
/// is "without a break" in three languages.
pub(crate) const EMPHASIS: &str = "
    it, all, this, everything, already, immediately, immediatly, asap, today, forever, completely,
    permanently, right, away, and, so, again, ok, okay, k, kk, oke, yes, yeah, yep, ya, yup, nope,
    nah, just, hey, hi, hello, dear, sir, madam, maam, guys, bro, bruh, man, dude, mate, omg, wtf,
    ffs, sorry, but, jfc, damn, dammit, damnit, fuck, fucking, fking, freaking, bloody, god, jesus, christ,
    seriously, really, fine, well, oh, ugh, alright, anymore, period, reply, me, sms, texto, todo,
    tout, alles, tutto, все, maintenant, ahora, ya, jetzt, sofort, subito, agora, nu";

/// Phrase patterns of one language.
pub(crate) struct Wordings {
    language: Language,
    pub(crate) patterns: &'static [&'static str],
}

const fn wordings(language: Language, patterns: &'static [&'static str]) -> Wordings {
    Wordings { language, patterns }
}

/// Each pattern with its language.
pub(crate) fn phrases(wordings: &'static [Wordings]) -> impl Iterator<Item = (Language, &'static str)> {
    let each = |wordings: &'static Wordings| wordings.patterns.iter().map(|pattern| (wordings.language, *pattern));
    wordings.iter().flat_map(each)
}

/// Named sets of words for the phrase patterns below.
pub(crate) const CLASSES: &[(&str, &str)] = &[
    ("fixed", "stop, stopall, unsubscribe, unsub, optout"),
    (
        "halt",
        "stop, stopp, stp, sotp, stpo, quit, cease, halt, discontinue, end",
    ),
    (
        "end",
        "stop, quit, cease, halt, discontinue, end, cancel, terminate, disable, unsubscribe",
    ),
    (
        "contacting",
        "
        texting, txting, textng, texitng, textimg, texring, txing, textin, texing, txtn, messaging, messageing, msging, contacting, emailing,
        spamming, bothering, harassing, bugging, pestering, bombarding, soliciting, notifying,
        annoying, pinging, smsing, disturbing, hounding",
    ),
    ("sending", "sending, receiving, getting, sendin"),
    ("calling", "calling, phoning, ringing, dialing"),
    (
        "contact",
        "text, txt, message, msg, contact, sms, spam, bother, solicit, harass, ping, dm, whatsapp",
    ),
    (
        "reach",
        "
        text, txt, message, msg, contact, sms, spam, bother, solicit, harass, ping, call, email,
        phone, write",
    ),
    (
        "contacted",
        "
        contacted, texted, messaged, called, bothered, solicited, spammed, emailed, notified,
        disturbed",
    ),
    (
        "message",
        "
        text, texts, txt, txts, message, messages, massages, mesages, msg, msgs, sms, smses, mms,
        robotexts, notifications, notification, reminders, communication, communications,
        correspondence, solicitations, solicitation",
    ),
    (
        "soft",
        "
        text, texts, txt, txts, message, messages, msg, msgs, sms, notifications, notification,
        reminders, reminder, updates, alerts, alert, ads, ad, adverts, advert, advertisements,
        advertising, advertisement, promos, promo, promotions, promotional, marketing, offers, deals,
        newsletter, newsletters, calls, emails, contact, spam, crap, shit, junk, bullshit, nonsense,
        mailings, robocalls, campaign, surveys",
    ),
    (
        "kind",
        "
        text, txt, sms, marketing, promotional, promo, promotion, spam, automated, automatic, auto,
        daily, weekly, constant, unwanted, unsolicited, junk, annoying, reminder, mass, sales,
        further, future, more, other, damn, stupid, fucking, freaking, bloody, ridiculous,
        advertising, political, campaign, stop, group, additional, new, whatsapp, goddamn, dumb,
        bullshit, bs",
    ),
    (
        "the",
        "
        the, these, those, this, all, your, any, such, more, of, them, with, me, us, my, out,
        anymore, please, pls, now, and, every, dem, ur, from, getting, kind",
    ),
    (
        "these",
        "these, those, this, them, stuff, anything, things, thing, shit, crap, garbage",
    ),
    ("me", "me, us"),
    ("my", "my, this, our, the"),
    (
        "phone",
        "
        number, numbers, phone, cell, cellphone, mobile, line, num, contact, details, info,
        information, telephone, phonenumber, no",
    ),
    ("line", "phone, cell, mobile, cellphone, telephone, contact"),
    (
        "drop",
        "
        remove, delete, drop, erase, scratch, strike, take, remov, romove, removed, clear, scrub,
        unlist, unenroll, unregister, deregister, purge",
    ),
    (
        "forget",
        "lose, loose, forget, delete, remove, erase, drop, deleted, purge, scrub",
    ),
    (
        "list",
        "
        list, lists, mailing, texting, text, texts, messages, message, msg, database, system,
        distribution, contacts, contact, sms, thread, chain, subscription, everything, here, it,
        this, these, all, campaign, campaigns, directory, records, marketing, promo, promotions,
        calling, call, file, files, notifications, alerts, program, texter, spam, data, group,
        broadcast, db, service, reminders",
    ),
    (
        "queue",
        "
        wait, waiting, waitlist, schedule, order, appointment, reservation, lease, booking, class,
        roster, team, guest, plan, policy, account, hold, deed, will, invoice, insurance, title,
        email, emails, mail, newsletter, school, pickup, calendar, card, loan, contract",
    ),
    ("dont", "dont, donot, dnt, don, never, not, no"),
    (
        "want",
        "want, wish, like, need, care, wanna, desire, agree, intend, consent, wanted",
    ),
    (
        "get",
        "
        receive, recieve, get, see, have, getting, receiving, recieving, more, any, your, these, the,
        this, those, anymore, you, sending, further, such, random, all, to, be, of, send, me, ur,
        them",
    ),
    (
        "tail",
        "
        please, pls, plz, thanks, thank, you, now, anymore, again, ever, any, more, asap,
        immediately, or, i, im, ive, this, its, no, not, period, thx, we, because, you, u, your, ur,
        stop, wrong, and, kindly, forever, unsubscribe, anything, who, idk, leave, about, here,
        times, time, twice, once, two, three, four, five, 3, 4, 5, 10, before, several, many, multiple,
        everyday, sir, bro, man, dude, wtf, ffs, go, further, with, these, from, regarding,
        seriously, today, fuck, by, without, like, every, all, so, am, going, will, ok, okay, they,
        thankyou, otherwise, my, never, dont",
    ),
    (
        "call_tail",
        "
        please, pls, anymore, again, ever, thanks, thank, now, and, or, i, im, you, at, all, asap,
        immediately, from, everyday, about, every, day, stop, this, its, who, on",
    ),
    (
        "later",
        "
        until, till, before, after, tomorrow, tonight, while, when, back, between, during, if,
        unless, just, later, yet, where, via, instead, first",
    ),
    (
        "fr_the",
        "
        de, des, les, vos, ces, tous, plus, d, m, me, nous, menvoyer, denvoyer, envoyer, recevoir,
        autres, aucun",
    ),
    (
        "fr_message",
        "message, messages, sms, texto, textos, pub, pubs, publicité, publicités, spam, spams, envois",
    ),
    (
        "es_the",
        "
        más, los, sus, estos, esos, tus, las, sus, la, todos, todas, mis, de, me, tantos, ningún,
        otro, a, recibir",
    ),
    (
        "es_message",
        "
        mensaje, mensajes, mensajitos, sms, textos, texto, notificaciones, alertas, publicidad, spam,
        suscripción",
    ),
    (
        "pt_the",
        "mais, as, os, essas, estas, esses, suas, de, das, dessas, todas, nenhuma, tantas, me, a, o",
    ),
    (
        "pt_message",
        "
        mensagem, mensagens, msg, msgs, sms, torpedo, torpedos, propaganda, propagandas, spam,
        notificações, cadastro, inscrição",
    ),
    (
        "de_more",
        "weiteren, weitere, mehr, werbe, solche, solchen, diese, eure, ihre",
    ),
    (
        "de_message",
        "nachrichten, nachricht, sms, smsen, werbung, texte, spam, werbenachrichten, werbesms",
    ),
    (
        "nl_message",
        "berichten, bericht, berichtjes, sms, smsjes, smsen, reclame, spam, appjes",
    ),
    ("it_the", "più, altri, i, questi, vostri, di, gli"),
    (
        "it_message",
        "messaggi, messaggio, messaggini, sms, pubblicità, spam, promozioni, notifiche",
    ),
    (
        "no_message",
        "
        sms, meddelanden, meddelande, meldinger, melding, beskeder, besked, smser, smsen,
        tekstmeldinger, textmeddelanden, reklame, reklam, smsa, beskeder",
    ),
    (
        "said",
        "
        texted, text, txted, replied, said, sent, typed, wrote, responded, messaged, saying, texting,
        replying, sending, typing, put, answered",
    ),
    (
        "asked",
        "asked, told, requested, asking, telling, begged, instructed, warned, say, tell, said",
    ),
    (
        "you",
        "
        you, u, yall, ya, your, them, guys, people, all, company, folks, repeatedly, multiple,
        several, many, times, already, nicely, twice, before, for",
    ),
    (
        "polite",
        "
        please, pls, plz, kindly, just, thanks, thank, you, ok, okay, now, so, and, also, sorry, sir,
        immediately, hey, hi",
    ),
    ("consent", "consent, permission, authorization, authorisation"),
    (
        "withdraw",
        "revoke, withdraw, rescind, revoking, withdrawing, retract, terminate, revoked, withdrew",
    ),
    (
        "wording",
        "
        reply, text, txt, send, respond, type, texting, replying, sending, responding, rply,
        antwort, antwoord, stuur, senden, sende, invia, enviar, répondre, répondez, envoyez, responde, responda, envía, envie, antworte, rispondi, antworten,
        sie, msg, by",
    ),
    (
        "keyword",
        "
        stop, stopall, unsubscribe, unsub, end, quit, cancel, help, start, unstop, arret, baja, info,
        yes, optout, aide, ayuda, resume, remove, no, 1, 2, 9, salir, parar, alto, stopp, abmelden,
        afmelden, sair, stoppa, afmeld, avmeld",
    ),
    (
        "aim",
        "to, 2, for, if, at, when, anytime, para, pour, um, per, or, and, within, por, a, now",
    ),
];

/// Phrases whose object is the messaging, or one's own number, and which a "don't" before them turns around. A word stands for itself, `a|b`
/// for either, `@class` for a set from [`CLASSES`], `!` before means "not followed by", `^` and `$` are the ends of the
/// sentence, a `?` or `*` behind means "perhaps" or "up to four".
pub(crate) const STOPPING: &[Wordings] = &[wordings(
    EN,
    &[
        // Stop (sending|texting|calling …): FCC 24-24 "reasonable person" sentences.
        "@halt @polite* with? all|the|your|it|these|this? @contacting !@queue !while !and|my|him|her|his|people|everyone|each|you|other @me? anymore|again|please?",
        "@halt @polite* with? all|the|your|it|these|this? @contacting @my @phone|wife|husband|mom|dad|mother|father|son|daughter|kids|family|office|house|business",
        "@halt @polite* with? all|the|your? @contacting|@calling and|or @contacting|@calling @me|my|this|us",
        "@halt @polite* @sending @the* @kind* @message",
        "@halt @polite* @sending @the* @kind* @soft $",
        "@halt @polite* @sending @the* @kind* @soft to|from|on|at|please|anymore|and|i|about|you",
        "@halt @polite* @sending @me? @polite* @these @tail* $",
        "@halt @polite* @sending @me? @polite* @these to|from|i",
        "@halt sending @me $",
        "@halt sending to? @me|my|this @phone? @tail* $",
        "@halt @polite* @calling @me|my|here|this|us @phone* $",
        "@halt @polite* @calling @me|my|here|this|us @phone* @call_tail",
        "@halt @polite* @calling|spam $",
        "@halt reaching|hitting|blowing|filling|blasting out|me|up|my|us",
        "@halt trying to @reach @me",
        // End (the|your|all …) messages.
        "@end @polite* @the* @kind* @message !of|me|is|was",
        "@end @polite* @the* @kind* @soft $",
        "@end @polite* @the* @kind* @soft to|from|on|at|please|anymore|i|thanks|now|immediately|asap|they",
        "@end @the* text|texting|sms|message|messaging subscription|subscriptions|service|program|club",
        "@end @the* subscription|subscriptions to @the* @message",
        "turn|shut|switch|cut off @the* @kind* @message|alerts|updates",
        "turn|shut|switch @the @kind* @message|alerts|updates off",
        "how do|can|to|would i|you|u|we? @end|remove|delete @polite* this|these|it|getting|myself|me|myself",
        "how do|can|to|would i|you|we? get|be off|out|removed @the* @list?",
        "how do|can|to|would i|you|we? stop|unsubscribe|unsub|optout $",
        "can|could|would|will|cud you|u|ya|yall|someone @polite* stop|unsubscribe|unsub|optout|quit @tail* $",
        "i|we|id|ive would|want|need|wish|like|demand|insist|am|prefer|really|just to|like|you|for|asking|that|want|demanding to|you|this|these|it|all|u|that? to? stop|optout|cease @tail* $",
        "you|u|yall|this|these|it|they people|guys|all|folks|messages|texts? need|needs|have|has|must|should|better|got to|2? stop @tail* $",
        "make|get|have it|this|these|them|the|you|your @message? @kind* to? stop",
        "want|need|like @the* @kind* @message|it|this|these|them to? stop|stopped",
        // Unsubscribe, opt out.
        "want|wish|like|need|ask|asked|asking|request|requesting to be taken|removed|deleted off|out? $",
        "@halt text|txt|msg|message|sms|contact @me|my|us $|please|anymore|now|phone|number",
        "unsubscribe|unsub !link|button|page|rate|option|for|footer|email|emails|url",
        "opt @me|my|this|our|the @phone* out !of",
        "opt @me|my|this|our|the @phone* out of|from @the* @kind* @message|@soft|@list|@these",
        "opt out of|from @the* @kind* @soft|@message|@list|@these|your|all|everything",
        "optout of|from @the* @kind* @soft|@message|@list|@these|your|all|everything",
        "want|wish|like|need|choose|chose|decided|prefer|please|demand|trying|tried|how|can|id|hereby to|i|do|we|would|wanna? to|i|we? opt out !of|for",
        "want|wish|like|need|choose|chose|decided|please|demand|trying|tried|how|can|hereby to|i|do|we? to|i|we? optout",
        "want|wish|like|need|ask|asked|asking|request|requesting|please|demand|requested to|me|for? be|get|me|been? unsubscribed|removed|deleted !from",
        "want|wish|like|need|ask|asked|asking|request|requesting|please|demand|requested to|me? be|get|me|been? unsubscribed|removed|deleted|off|taken from|off @the* @list",
        "i|im|we am|are? opting|opt out !of|for",
        "unsubscribe|unenroll|unregister|deregister|disenroll|unlist @me|my|us|this",
        // Removal (Spoke's field list: take me off, lose my number, delete my number).
        "@drop @me $",
        "@drop @me @polite|asap|immediately|i|im|or|wrong|this|its|not|you|thx|stop",
        "@drop @me from|off|out|of !hold of? @the* !@queue @kind* !@queue @list !@queue",
        "take|get|keep @me|@phone|us off $",
        "take|get|keep @me|us off @polite|of? @the* !@queue @kind* @list",
        "take|keep|get @my @line? @phone off|out",
        "take|remove|get|want|be|come off|from @the* @kind* list|lists|texting|mailing !@queue",
        "get|want|be off|out|from of? your|this|these|the @kind* list|lists|texts|messages|thread|chain",
        "leave|exit your|this|the @kind* list|thread|chain",
        "lose|loose|forget my|this $|info|information|contact|details|digits",
        "block my|this number|phone",
        "@drop|@forget my|this|our|the @line* number|phonenumber|num !on|with|to|of",
        "@drop|@forget number|phone|cell @phone? $",
        "@drop @my @line* @phone|name from|off|out of? @the* @kind* @list !@queue",
        "@drop my name and? @phone* from|off|out of? @the* @kind* list|database|system|texts",
        "@drop @my name and number",
        "remove|take from|off @the* @kind* list|lists|texting|mailing|messages|texts",
        "add|put @me|my|this @phone* to|on @the* do|dnc|dont not? call|contact|text|list|disturb list?",
    ],
)];

/// Phrases that refuse contact or complain that an earlier opt-out was ignored: a negation belongs to
/// them, so none turns them around.
pub(crate) const REFUSING: &[Wordings] = &[
    wordings(
        EN,
        &[
            // Refusal of contact.
            "do not @reach @me|my|this|here|us @phone* $",
            "do not @reach @me|my|this|us @phone* !@later @tail",
            "do not @reach @me|my|this|us @phone* at|on|to this|my|the|all|our @phone?",
            "dont|donot|dnt|never @polite* ever? @reach @me|my|this|us @phone* $",
            "dont|donot|dnt|never @polite* ever? @reach @me|my|this|us @phone* !@later @tail",
            "dont|donot|dnt|never @polite* ever? @reach @me|my|this|us @phone* at|on|to this|my|the|all|our @phone?",
            "^ @polite* do not @reach again|anymore|ever|here? $",
            "^ @polite* dont|donot|never @reach again|anymore|ever|here? $",
            "dont|never|not @reach or|and|nor @reach @me|my|this|us",
            "do not|ever ever? @reach @me|us again|anymore|ever|further",
            "do|does not want|wish|like you|u|yall to @reach @me",
            "do not|never send|sending @the* @kind* @message|@soft|anything|stuff !until",
            "dont|donot|dnt|never|not send|sending @the* @kind* @message|@these|anything !@later",
            "dont|donot|dnt|never|not|longer @want to? be @contacted|@contacting|on|part|bothered",
            "dont|donot|dnt|never|not|longer @want to? @get* @kind* @message !from|until|when|if|@later",
            "dont|donot|dnt|never|not|longer @want to? @get* @kind* @message|@soft|@these|anything from|about|on|at|to you|your|this|u|my|yall|here|me|these",
            "dont|donot|dnt|never|not|longer @want @the* @kind* @soft|@these $",
            "dont|donot|dnt|never|not|longer @want to? receive|get|see|have @the* @kind* @soft|@these @tail* $",
            "dont|donot|dnt|never|not|longer @want @the* @kind* @message|updates|alerts|ads|promos|promotions|spam",
            "dont|donot|dnt|never|not|longer @want to? hear|receive|be|get @the* from|anything|contacted|on you|this|your|more|anymore|list|the",
            "dont|donot|dnt|not|never|longer @want you|u|your|yall|anyone|people company? to? @reach|text|texting|contacting|messaging|sending|calling @me|my|this",
            "dont|not|longer @want to hear from you|u|yall|this",
            "not interested in @the* @kind* @message|texting",
            "no more @the* @kind* @message|@soft !than|about|on|for",
            "no more texting|messaging|contact|spam|texts|contacting",
            "^ @polite* no more $",
            "^ @polite* no more please|thanks|thank",
            "^ @polite* no texts|texting|sms|spam @tail* $",
            "^ @polite* no text messages? please|thanks|messages? $",
            "^ @polite* no text please|msgs|messaging $",
            "enough @the* of|with @the* @kind* @message|spam|texts",
            "cease @polite* and desist",
            "cease|stop|end @the* @kind* contact|communication|communications|correspondence",
            "leave @me|us|my alone|be",
            "leave my @phone|family alone",
            "^ @polite* go away @tail* $",
            "^ @polite* fuck|piss|bugger|buzz|f|sod|eff off @tail* $",
            "^ @polite* get lost @tail* $",
            // Consent taken back.
            "@withdraw my|any|all|the? my|previous|prior|express|written|text|sms? @consent",
            "@consent is|has|hereby? been? @withdraw|withdrawn",
            "do|did|never not? consent|agree|authorize|authorise|give|gave|consented|opted|signed !until to|for|you|permission|consent|any|your|in|my? @the* @kind* @message|texts|texting|contact|text|permission|consent|contacted|this|these|@contacted",
            "not|no|dont|never have|given|give|had? my|any? @consent to|for @reach|send|texting|contacting",
            "i never signed up for? @the* @kind* @message|this|these|texts|it",
            // An earlier opt-out that was ignored.
            "i|ive|weve|we|already|keep|kept|just|have @said|already|just|have? @said @you* with|the|word? stop|unsubscribe|stopall|unsub|optout !to|by",
            "i|ive|weve|we have|had|already|just|clearly|repeatedly? @asked @you* @you* to|2|be|not stop|quit|unsubscribe|unsub|be|not|contact|text|get|remove|leave @tail|removed|taken|texting|sending|contacting|off|unsubscribed|me|messaging|alone|text|contact",
            "@asked you|u|yall @you* to? not? to? stop|quit|remove|unsubscribe|leave|text|contact me|texting|sending|messaging|us|contacting|the|these",
            "told|asked you|u|yall @you* to? stop @tail* $",
            "already|previously|twice|times|have|ive|i|just|thought i? already|have? unsubscribed|optedout",
            "already|previously|twice|times|have|ive|i|just|thought i? already|have? opted out !of|by",
            "already said stop|no|unsubscribe",
            "said|texted|typed|replied|sent|reply stop twice|times|already|again|multiple|many|several|before|ages|weeks|months|two|three|2|3|4|5|yesterday|last",
            // What people add to the keyword about themselves.
            "^ @fixed|stopp @polite* this? is|its|you|im|not|u|youve|have|got|sorry|you|we|i? got|have|not|am|are|no|longer|the|a|is? the|a|have|interested|longer|at? wrong|interested number|person|phone|guy|lady|in|$",
            "^ @fixed or|before i|ill|im|we|ima",
            "wrong|not|interested|longer number|person|interested|$ @polite* please? @fixed $",
            "wrong number|person @polite* @fixed @polite* $",
            "not|longer interested @polite* @fixed @polite* $",
            "no thanks|thank|thx you? @polite* @fixed @polite* $",
            "who is|are|r|tf|the this|you|u @polite* @fixed @polite* $",
            // "STOP to end" copied from a footer, "text STOP" copied from one.
            "^ @fixed to|2 end|stop|quit|cancel|unsubscribe|optout|opt out? $",
            "^ reply|text|txt|send|type @fixed @polite* $",
        ],
    ),
    wordings(None, &["^ stop au|to|at|a|no? #code $"]),
    wordings(
        FR,
        &[
            "^ arret|arrêtez? stop? au|sms #code $",
            // French. A person or the messages are the object; "annuler ma commande" is not here.
            "ne me|nous contactez|dérangez|harcelez|textez|écrivez|recontactez|spammez|envoyez|texte|contacte|envoie|écris plus|pas",
            "ne|plus menvoyez|menvoie|mécrivez|mécris plus|pas",
            "ne plus me|nous contacter|envoyer|écrire|déranger|texter",
            "ne plus recevoir|menvoyer @fr_the* @fr_message",
            "ne veux|souhaite|désire plus|pas recevoir|avoir|de|vos|ces @fr_the* @fr_message",
            "ne veux|souhaite|désire plus|pas être contacté|contactée|dérangé|dérangée",
            "veux|souhaite|désire plus recevoir? @fr_the* @fr_message",
            "veux|souhaite|désire|voudrais|aimerais|comment|merci|veuillez de? me|nous? désabonner|désinscrire|désabonne",
            "arrêtez|arrête|arrêter|stop|cessez|cesse|stoppez de|d|les|vos|ces|tous|denvoyer|avec|aux|au|à? @fr_the* @fr_message",
            "arrêtez|arrête|arrêter|stop|cessez|cesse|stoppez de me|nous texter|contacter|écrire|envoyer|harceler|spammer|déranger",
            "arrêtez|arrête|arrêter|cessez|cesse de|d menvoyer|mécrire|denvoyer",
            "plus de|aucun @fr_message svp|merci|$",
            "retirez|enlevez|supprimez|retire|supprime|effacez|enlève moi|mon de|numéro",
            "retirez|enlevez|supprimez|effacez mon numéro",
            "laissez|laisse|fichez|foutez moi|nous tranquille|tranquilles|la",
        ],
    ),
    wordings(
        ES,
        &[
            // Spanish; "quiero cancelar mi cita" is not here.
            "no|nunca me|nos envíen|envíes|envíe|envien|manden|mandes|mande|escriban|escribas|escriba más @es_message?",
            "no|nunca me|nos envíen|envíes|envíe|manden|mandes|mande @es_the* @es_message",
            "no|nunca me|nos contacten|contacte|contactes|molesten|moleste|molestes|textees|texteen",
            "no|nunca me|nos llamen|llames|escriban|escribas|escriba más|nunca|$",
            "no envíen|envíe|envíes|manden|mande|mandes|enviar|mandar @es_the* @es_message",
            "no|ya|tampoco no? quiero|deseo|necesito|queremos|deseamos recibir|más|sus|estos|tus|seguir @es_the* recibiendo? @es_the* @es_message",
            "no quiero|deseo que me contacten|escriban|envíen|manden|molesten|llamen",
            "no quiero|deseo ser contactado|contactada|molestado|molestada",
            "dejen|deja|deje|dejar|paren|parar|pare|basta|alto|detengan de enviarme|mandarme|molestar|molestarme|escribirme|contactarme|textearme",
            "dejen|deja|deje|dejar|paren|parar|pare|basta|alto|detengan|stop|cancelar|cancela|cancelen|cancele|detener de|con? enviar|mandar|recibir? @es_the* @es_message",
            "no más @es_the* @es_message",
            "^ @polite* ya? no quiero más $",
            "^ @polite* ya no quiero $",
            "déjenme|déjame|déjeme en|tranquilo|tranquila paz|$",
            "quiero|deseo|quisiera|necesito|favor|cómo|como|puedo|solicito me|puedo? darme|dar|dame|deme|denme|den de baja",
            "quiero|deseo|quisiera|necesito|favor|cómo|como|puedo desuscribirme|desinscribirme|desuscribir",
            "darme|dame|deme|denme|den|dar|dé de baja",
            "quítenme|quítame|bórrenme|bórrame|elimínenme|elimíname|sáquenme|sácame de la|su|esta|sus lista|listas",
            "quiten|borren|eliminen|saquen|borra|quita|elimina mi|este número",
        ],
    ),
    wordings(
        PT,
        &[
            // Portuguese.
            "não quero|desejo|gostaria|queremos mais|de? mais? receber|essas|estas|suas|ter|nenhuma mais? @pt_the* @pt_message",
            "não quero|desejo mais receber|ser contatado|contatada|mais|$",
            "não|nunca me|nos mais? enviem|envie|mande|mandem|contatem|contate|perturbe|perturbem|incomode|incomodem mais|@pt_the|@pt_message|nunca|$",
            "não envie|enviem|mande|mandem|escreva|escrevam mais $|nada|isso",
            "^ @polite* não quero mais nada? $",
            "não mande|mandem|envie|enviem|enviar|mandar mais? me? @pt_the* @pt_message",
            "pare|parem|parar|chega|basta|cancelar|cancele|cancela|cancelem|stop de|com|o|a? me? enviar|mandar|receber|envio|recebimento? de|das? me? @pt_the* @pt_message",
            "pare|parem de me enviar|mandar|perturbar|incomodar|contatar",
            "quero|gostaria|desejo|favor|como|preciso|posso eu|faço|de|para|me|o? me|para|de|o|do? descadastrar|descadastro|descadastre|desinscrever",
            "quero|gostaria|desejo|como|preciso de|faço|para? de|para? sair da|desta|dessa lista",
            "retire|retirem|remova|removam|remover|tire|tirem|exclua|excluam|apague|apaguem meu|o|esse|este número|contato|telefone",
            "me remova|remove|retire|retirem|removam|exclua|excluam|tire|tirem|tira da|desta|dessa|de sua? lista|listas|suas",
            "me deixe|deixem|deixa em paz",
        ],
    ),
    wordings(
        DE,
        &[
            // German and Dutch.
            "keine|nie @de_more* @de_message mehr|bitte|senden|schicken|$|an|von",
            "keine @de_more @de_more? @de_message",
            "nicht|nie mehr|länger|weiter schreiben|kontaktieren|anschreiben|belästigen|simsen|kontaktiert",
            "kontaktieren|kontaktiert|belästigen|schreiben|schreibt|schreib sie? mich|mir|uns bitte? nicht|nie mehr|$",
            "senden|schicken|schickt|sendet|schick sie? mir|uns bitte? keine @de_more* @de_message",
            "möchte|will|wünsche|wollen bitte? keine @de_more* @de_message",
            "möchte|will|wünsche|wollen nicht mehr|länger von? ihnen|euch? kontaktiert|angeschrieben|belästigt",
            "möchte|will|kann|bitte|wie ich|mich|uns? mich|ich|uns? abmelden|abbestellen|austragen",
            "hören|hört|hör sie? bitte|endlich? auf|damit",
            "lasst|lassen|lass sie? mich|uns in frieden|ruhe",
            "löschen|entfernen|löscht|entfernt|streichen|lösche|streicht sie? bitte? meine|diese nummer|handynummer|telefonnummer",
            "nehmen|nehmt|streichen|streicht|entfernen|entfernt|löschen|löscht sie? bitte? mich bitte? aus|von|vom verteiler|liste|ihrer|der|eurer",
            "melden|melde|meldet|tragen|tragt|trage sie? mich bitte? ab|aus",
            "stoppen|stopp|stoppt|stop|beenden|beende sie|bitte? mit? die|diese|diesen|den|alle|das? @de_more* @de_message",
        ],
    ),
    wordings(
        NL,
        &[
            "geen @nl_message meer|aub|graag|sturen|$",
            "stop|stoppen|hou|ophouden met? op? met? deze|het|die|de|sturen|mij|me? van? @nl_message",
            "stuur|stuurt mij|me geen|niets @nl_message|meer",
            "wil|wens geen @nl_message",
            "wil|wens|kan mij|me|ik? mij|me? graag? afmelden|uitschrijven",
            "haal|verwijder|schrap me|mij|mijn van|uit|nummer",
            "laat me|mij met rust",
            "niet meer sms|smsen|appen|contacteren|benaderen|lastig",
        ],
    ),
    wordings(
        IT,
        &[
            // Italian.
            "basta|stop|niente|smettetela|smettete|smetti|smettila|non con|di|più|mandare|mandarmi|inviarmi|inviare|i|gli? con|di|più|altri|mandarmi|i|questi|mandare? @it_message",
            "basta|smettetela|smettete|smetti|smettila di scrivermi|contattarmi|disturbarmi|mandarmi|inviarmi",
            "non voglio|desidero|vorrei|vogliamo più|ricevere|essere ricevere|più|altri|contattato|contattata|disturbato|disturbata @it_the* @it_message?",
            "non mi|ci inviate|mandate|scrivete|contattate|disturbate|inviare|mandare|scrivere|contattare più|@it_message|altri",
            "non scrivetemi|contattatemi|inviatemi|mandatemi|disturbatemi|scrivermi|contattarmi|disturbarmi|mandarmi|inviarmi",
            "cancellatemi|cancellami|toglietemi|toglimi|rimuovetemi|eliminatemi|rimuovimi|eliminami dal|dalla|dalle|da",
            "cancellate|rimuovete|togliete|eliminate|cancella|rimuovi il|questo mio? numero",
            "voglio|vorrei|desidero|posso|come|per mi|posso|faccio|a? a? disiscrivermi|disiscrivo|cancellarmi",
            "lasciatemi|lasciami|lasciateci in|stare pace|$",
        ],
    ),
    wordings(
        None,
        &[
            // Nordic.
            "inga|ingen|ikke|inte fler|flere|flera|mer|mere @no_message",
            "sluta|slutt|stopp|stoppa|stop|hold|lad med|att|å|at|opp|vær? med? att|å|at? sms|smsa|sende|send|skicka|kontakta|kontakte|disse|dessa|spamma|spamme fler|flere? @no_message|$|mig|meg|till|til",
            "ikke|ikkje|inte|sluta|slutt|skicka|send sende|send|skicka|sms? inte|ikke? fler|flere|flera|mer @no_message",
            "vil|vill|ønsker|önskar inte|ikke|ej ha|få|have|motta|modtage|längre|lenger|længere fler|flere|flera|mer|få|ha @no_message",
            "kontakta|kontakt|kontakte|send|skicka|skriv|sms mig|meg|oss inte|ikke mer|mere|igen|igjen|flere|fler|$",
            "ta|slett|fjern|stryk|slet bort? mig|meg|mitt|mit|nummeret fra|från|nummer|av|mitt|mit",
        ],
    ),
    wordings(
        FI,
        &[
            "älkää|älä lähettäkö|lähetä|laittako|laita enää|minulle|viestejä|tekstiviestejä",
            "en|emme halua|haluamme enää|saada? teidän|näitä|enää? viestejä|tekstiviestejä|mainoksia",
        ],
    ),
    wordings(
        PL,
        &[
            // Polish, Czech, Slovak, Hungarian, Romanian, South Slavic.
            "nie chcę|życzę sobie|już|więcej? otrzymywać|dostawać|więcej|tych|waszych|żadnych więcej|tych|waszych|już|żadnych? smsów|wiadomości|sms|reklam",
            "nie wysyłajcie|przysyłajcie|piszcie|wysyłaj|pisz|wysyłać|pisać mi|do? więcej|mnie|smsów|wiadomości|już|sms",
            "proszę o? mnie|nie|o? usunąć|wypisać|wypisanie|usunięcie mnie|mój|mojego|numer|z|$",
            "proszę już? nie pisać|wysyłać|przysyłać|kontaktować|dzwonić",
            "usuńcie|usuń|wypiszcie|wykreślcie|skreślcie|wypisz mnie|mój numer|z",
            "przestańcie|przestań|dość do? mi? wysyłać|pisać|przysyłać|wysyłania|smsów",
        ],
    ),
    wordings(
        CS,
        &[
            "nechci|nechceme|nechcem už|dostávat|odebírat|od|vaše|další|dostávať|žádné dostávat|vaše|žádné|další|od|vás|tyto|dostávať? vaše|žádné|další|vás? zprávy|sms|správy|smsky",
            "neposílejte|neposílat|nepište|nekontaktujte|neposielajte|nepíšte|neposílej mi|nám|už|mě|ma|zprávy|sms|správy",
            "přestaňte|prestaňte mi|nám? posílat|psát|posielať|písať",
            "vymažte|odstraňte|smažte|odhlaste|vyřaďte mě|moje|mé|ma číslo|z|ze",
        ],
    ),
    wordings(
        HU,
        &[
            "ne|nem küldjenek|küldjön|küldj|küldjetek|írjanak|kérek|szeretnék|akarok többet|több|nekem|ilyen üzenetet|sms|smst|többet|kapni|$",
        ],
    ),
    wordings(
        RO,
        &[
            "nu îmi|ne|mi? mai? trimite|trimiteți|trimiteti|scrieți|contactați mai|mesaje|sms|$",
            "nu mai vreau|doresc|îmi|trimite|trimiteți|trimiteti|contactați să|trimiteți|mesaje|sms|mai|trimite primesc|mesaje|sms|$",
            "ștergeți|scoateți|eliminați mă|numărul|ma din|meu",
        ],
    ),
    wordings(
        HR,
        &[
            "ne|nemojte|nemoj želim|želimo|šaljite|slati|šalji|mi|više više|mi|primati|dobivati|dobijati|slati|šalji vaše|više|primati|slati|mi? poruke|sms",
        ],
    ),
    wordings(
        TR,
        &[
            // Turkish, Greek.
            "mesaj|sms|reklam bir|daha|artık|almak? daha? atma|atmayın|göndermeyin|gönderme|istemiyorum|yollamayın|yazmayın|yollama|istemiyoruz|göndermeyiniz|atmayınız",
            "mesajları|mesajlarınızı|smsleri|mesajlar durdurun|kesin|durdur|istemiyorum",
            "numaramı|beni listenizden|listeden|sistemden? silin|çıkarın|sil|çıkar",
            "beni rahatsız|aramayın etmeyin|$",
        ],
    ),
    wordings(
        EL,
        &[
            "μη|μην μου|με|ξανά? στέλνετε|στείλετε|ξαναστείλετε|ενοχλείτε|στέλνεις|ενοχλήσετε",
            "δεν θέλω|επιθυμώ άλλα|να|πια λαμβάνω|μηνύματα|sms|λάβω",
            "σταματήστε|σταμάτα να|τα|με μου|με|μηνύματα|ενοχλείτε|sms",
        ],
    ),
    wordings(
        RU,
        &[
            // Russian, Ukrainian.
            "не|больше не? мне|больше|сюда|меня|нам? больше|мне|сюда? пишите|присылайте|шлите|отправляйте|беспокойте|пиши|присылай|шли|спамьте больше|мне|сюда|$|смс|сообщений|сообщения|рассылку|меня|ничего",
            "не надо|нужно мне|больше|сюда? мне|больше|сюда? писать|присылать|слать|отправлять|беспокоить",
            "перестаньте|прекратите|хватит|перестань|прекрати|прошу уже|мне|меня|не|больше? мне|меня|не? писать|присылать|слать|отправлять|беспокоить|спамить|рассылку|рассылать",
            "не|больше хочу|желаю|не больше|хочу|получать|желаю больше|получать? ваши|этих|эти|ваших|никаких|от? вас? получать|сообщений|сообщения|смс|рассылку",
            "уберите|удалите|исключите|отпишите|убери|удали|вычеркните мой|меня|этот номер|из",
            "оставьте|отстаньте|оставь|отстань меня|от в|меня|нас покое|$",
            "как|хочу|прошу|можно|желаю мне|можно|я? отписаться|отпишите",
            "хочу|прошу|как|желаю отключить|отказаться|отменить|остановить от|эти|эту|вашу? рассылки|рассылку|смс|сообщения",
        ],
    ),
    wordings(
        UK,
        &[
            "не|більше|перестаньте|припиніть|годі мені|більше|сюди? надсилайте|пишіть|шліть|надсилати|писати|турбуйте більше|мені|сюди|повідомлень|повідомлення|смс|мене|$",
            "не|більше хочу|бажаю більше? отримувати",
            "видаліть|відпишіть|приберіть мій|мене номер|зі|з",
        ],
    ),
    wordings(
        AR,
        &[
            // Arabic, Persian, Hebrew.
            "لا ترسل|ترسلوا|تبعث|تبعثوا لي|المزيد|هذه|رسائل|الرسائل|أي|اي|مرة",
            "لا تراسلني|تراسلوني|تزعجني|تزعجوني|تراسلونا",
            "لا أريد|اريد|ارغب|أرغب في|المزيد|هذه|استلام|تلقي|رسائل|رسائلكم المزيد|من|هذه|استلام|تلقي? من|هذه? الرسائل|رسائل|رسائلكم|$",
            "توقف|توقفوا|كفى عن إرسال|ارسال|مراسلتي|الرسائل|إزعاجي",
            "أوقف|اوقف|أوقفوا|اوقفوا|إيقاف|ايقاف|وقف|إلغاء|الغاء|كفى إرسال|ارسال|هذه|جميع|كل? الرسائل|رسائل|الاشتراك|رسائلكم",
            "احذف|احذفوا|أزل|ازل|أزيلوا|ازيلوا|امسح رقمي|اسمي",
            "أريد|اريد|ارغب|أرغب في? الغاء|إلغاء|ايقاف|إيقاف هذا? الاشتراك|اشتراكي|الرسائل",
        ],
    ),
    wordings(
        FA,
        &["دیگر|لطفا به|پیام|من|دیگر|پیامک پیام|پیامک|من|ندهید|نفرستید ندهید|نفرستید|نده|نفرست|پیام|$"],
    ),
    wordings(
        HE,
        &[
            "תפסיקו|תפסיק|די|נא|הפסיקו|אל|לא|בבקשה עם|רוצה|מעוניין|מעוניינת|לא? לשלוח|תשלחו|תשלח|לסמס|להטריד|לקבל|להודעות|תסמסו|ליצור|ההודעות לי|הודעות|יותר|אותי|קשר|$",
            "תסירו|הסירו|הסר|תוריד|תורידו|תמחקו|מחקו|הורידו|נא אותי|את|להסיר",
            "תעזבו|עזבו אותי",
        ],
    ),
    wordings(
        HI,
        &[
            // Hindi (both scripts), Bengali.
            "मुझे|कृपया|आगे|और|अब? मैसेज|मेसेज|संदेश|एसएमएस|sms|message मत|न|ना|नहीं भेजो|भेजें|भेजिए|चाहिए|करो|करें|भेजे",
            "मैसेज|मेसेज|संदेश|एसएमएस|sms|message करना|भेजना? बंद|रोको|रोकें|रोकिए",
            "मत भेजो|भेजें|भेजिए",
            "message|messages|msg|msgs|sms aur|mujhe|phir? mat|na|nahi bhejo|karo|bheje|bhejna|karna|kare|bhejiye|chahiye|kr|karen|bhejen",
            "message|messages|msg|msgs|sms bhejna|karna? band|bandh",
        ],
    ),
    wordings(BN, &["মেসেজ|বার্তা|এসএমএস|আর আর|পাঠাবেন|পাঠানো|মেসেজ? পাঠাবেন|বন্ধ না|করুন|কর"]),
    wordings(
        ID,
        &[
            // Indonesian, Malay, Filipino, Vietnamese, Swahili.
            "jangan lagi? kirim|kirimi|hantar|sms|hubungi|ganggu|kirimkan|mengirim lagi|saya|pesan|sms|mesej|ke|aku",
            "berhenti|stop|hentikan mengirim|menghantar|mengirimi|mengganggu|menghubungi|pengiriman|kirim|hantar",
            "tidak|tak|gak|nggak mau|ingin|nak|mahu terima|menerima|dihubungi|dapat lagi? pesan|sms|mesej|lagi|$",
            "hapus|buang|keluarkan|padam nomor|saya|nombor saya|ini|dari|daripada",
        ],
    ),
    wordings(
        TL,
        &[
            "huwag|wag nyo|mo|ninyo|na|niyo|kayong? akong|ako|na|mo|nyo? itext|kontakin|magtext|magpadala|itetext|padalhan|text",
            "tigilan|itigil mo|nyo|ninyo|na|niyo|ang? na? ako|pagtext|pagpapadala|kakatext",
            "ayoko|ayaw na|ko? ng|na|makatanggap text|makatanggap|ng|mensahe",
        ],
    ),
    wordings(
        VI,
        &["đừng|ngừng|dừng|thôi|không gửi|nhắn|gởi|muốn|liên|làm nhận|tin|hệ|cho|nữa|phiền"],
    ),
    wordings(
        SW,
        &[
            "sitaki ujumbe|sms|meseji|jumbe|kupokea",
            "usinitumie|msinitumie|acheni ujumbe|sms|meseji|kunitumia|kutuma|tena",
        ],
    ),
    wordings(
        None,
        &[
            // Swedish, Danish and Norwegian: "I want to leave the list".
            "meld|avmeld|tag|ta|ta av mig|meg|oss av|fra|från|bort|$",
        ],
    ),
];

/// Texts that machines write, and instructions quoted from a footer: never an opt-out by phrase.
pub(crate) const ECHOES: &[&str] = &[
    "@wording back? with? the? word? @keyword @aim",
    "@wording back? with? @keyword or|and @keyword",
    "text|txt|reply|send|respond|say|type stop|unsubscribe|help|end|cancel will|would|does|do|happen|happens",
    "if|when|should|what|whether i|we|you|someone|they|u @wording|say|said|texted stop|unsubscribe|help|end|cancel|stopall",
    "you have|has|are|were|will been|be|successfully|now|already|no? been|longer|successfully|be|not|now? unsubscribed|opted|removed|receive|resubscribed|subscribed|unsubscribe|registered",
    "youve|youre been|now|successfully? unsubscribed|opted|removed",
    "msg|message|messages|msgs|text and|data|rates|amp? data? rates|charges may|apply",
    "antworten|antworte|senden|antwoord|stuur|rispondi|risponda|responda|responde|répondez sie? mit|met|con|com|par|avec @keyword",
    "you have? replied|texted|sent|responded with? the? word? @keyword",
    "no more|further @message will be",
    "network msg|message",
    "to resubscribe|unsubscribe|optout|stop|cancel|end|cancel reply|text|txt|send|click|call|visit|email|press",
    "to stop|unsubscribe|cancel|end|quit|optout @polite* receiving|getting? @the* @kind* @message? reply|text|txt|send|click|visit",
    "click|visit|tap|follow|use|see here|x|below|this|the|our|on? link|page|site|website|x? to unsubscribe|optout|opt|stop",
    "to opt out reply|text|txt|send|click|call|visit|email|press",
    "répondez|envoyez|répondre|envoyer stop|arret pour|au",
    "envía|envie|responde|responda|envíe stop|baja|alto|salir|parar para|al",
    "para|pour|um|per não|no|ne|sich|annullare|cancelar|se|dejar|parar? receber|recibir|désabonner|abzumelden|cancelar|désinscrire? mais? envie|responda|responde|envía|répondez|envoyez|antworten|antworte|rispondi|invia",
    "your? message|text could|was|has not? been? delivered|received",
];

/// What turns the phrases of [`STOPPING`] around when it stands right before them.
pub(crate) const NEGATORS: &str = "
    dont, not, never, didnt, doesnt, wouldnt, shouldnt, wont, cant, cannot, couldnt, donot, without,
    isnt, wasnt, neither, nor, aint, dnt, accidentally, mistakenly, accident, mistake";

/// What may stand between a negation and the word that it negates.
pub(crate) const BETWEEN: &str = "
    ever, please, want, wanted, asked, tried, meaning, to, wish, need, mean, meant, you, u, going, gonna, wanna, plan, planning,
    ready, try, trying, intend, have, like, let, them, it, asking, ask, do, hit, sent, texted, typed,
    said, replied, pressed, clicked, ll, actually, really, just, yet, be, get, should, my, for";

/// Negations outside English by language, where the phrases of [`REFUSING`] that begin without one are turned around by it.
/// A word that is "no" as an answer is not among them where the verb is negated by another one.
pub(crate) const NEGATORS_ABROAD: &[(Language, &str)] = &[
    (ES, "no, nunca, jamás, tampoco"),
    (PT, "não, nunca, jamais"),
    (FR, "ne, pas, jamais"),
    (IT, "non, mai"),
    (DE, "nicht, nie"),
    (NL, "niet, nooit"),
    (None, "inte, ikke, ikkje, ej, aldri, aldrig"),
    (RO, "nu"),
    (HU, "ne, nem"),
    (PL, "nie"),
    (HR, "ne, nemojte"),
    (RU, "не"),
    (UK, "не"),
];

/// Negations that stand behind the phrase, at the end of the sentence.
pub(crate) const NEGATORS_BEHIND: &str = "nicht, niet";

/// What may stand between a negation and the phrase there.
pub(crate) const BETWEEN_ABROAD: &str = "
    me, nos, te, se, lo, le, les, mi, ci, vi, il, la, por, favor, quiero, quisiera, deseo, queremos, pido, quero,
    gostaria, desejo, pedi, voglio, vorrei, desidero, veux, voudrais, souhaite, sie, ihr, bitte, mich, wil, mij, dat, que,
    di, de, хочу, меня, мне, надо, vil, vill, att, å, at";

/// Before the phrase, after "why": "why would I opt out?".
pub(crate) const WONDERING: &str = "would, should, did, wouldnt";

/// What stands before an instruction that is told as one's own doing: "I keep texting STOP and …".
pub(crate) const OWN_DOING: &str = "i, ive, we, weve, keep, kept, already, just, have, been, after, by";

/// Endings of names of hosts, as people write them in texts.
pub(crate) const HOST_ENDINGS: [&str; 6] = ["com", "org", "net", "io", "gov", "edu"];

/// Of whom a "don't" is told, not asked: "you never text me", "why don't you call me".
pub(crate) const TOLD: &str = "you, u, yall, he, she, they, we, it, why, who, people, if, to, guys";

/// The words with which a prohibition begins.
pub(crate) const PROHIBITIONS: &str = "dont, donot, dnt, never, do";

/// Said in jest: then a lone "stop it" in a longer text is not taken seriously.
pub(crate) const PLAYFUL: &str = "
    lol, lmao, lmfao, rofl, haha, hahaha, hahahaha, hehe, funny, hilarious, jk, kidding, cute,
    blushing";

/// Beginnings of the lines that mail and message programs add (after the text, never alone).
pub(crate) const SIGNATURES: &str = "
    sent from my, sent from outlook, sent from yahoo, sent from mail, sent from samsung,
    sent from iphone, sent from android, sent from gmail, sent from proton, sent via, sent with,
    sent using, get outlook for, envoyé de mon, envoyé depuis, enviado desde mi, enviado do meu,
    enviado desde, enviado via, enviado con, gesendet von, gesendet mit, von meinem iphone gesendet,
    inviato da, inviato dal mio, verzonden vanaf, verstuurd vanaf, verzonden met, skickat från,
    sendt fra, sendt via, lähetetty, wysłane z, odesláno z, trimis de pe, отправлено с,
    iphone umdan gönderildi, posláno z";

/// How phones that cannot show a reaction spell it out; the quoted message follows in quotation marks.
pub(crate) const REACTIONS: &str = "
    liked, loved, disliked, laughed at, emphasized, emphasised, questioned, reacted,
    removed a like from, removed a heart from, removed a dislike from, removed a laugh from,
    removed an exclamation from, removed a question mark from, hearted, le gustó, le encantó, a aimé,
    a adoré, aime, gefällt, ha messo, gostou de, amou, mi piace, to, curtiu, adorou, vond, gillade";
