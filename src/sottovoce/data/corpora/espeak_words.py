"""What is said in the corpus of espeak: words and templates of English sentences, and words of other languages."""

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start")
UNKNOWN = "_unknown_"
OTHERS = (
    "bed bird cat dog happy house marvin sheila tree wow zero one two three four five six seven eight nine river "
    "cloud paper window garden yellow summer chair voice measure bridge thunder apple engine mother father button "
    "kitchen over under nobody stone loft ride town goat nose opera"
)

# {name} stands for any of the words under that name, which may hold names themselves.
WORDS = {
    "who": "my brother|my sister|the teacher|our neighbour|the old man|a young woman|the doctor|her cousin|the farmer|"
    "the baker|their uncle|the boy|the girl|a stranger|the judge|the captain|my friend {name}|{name}|"
    "{name} and {name}|the {adj} {person}|nobody|somebody|everyone in the {place}",
    "person": "child|painter|driver|student|singer|nurse|sailor|waiter|cook|clerk|poet|guest|nephew|chemist|shepherd|"
    "king",
    "name": "Anna|Martin|Joyce|Roy|George|Ruth|Chloe|Thomas|Julia|Hugh|Beth|Oscar|Lucy|Victor|Sheila|Keith|Zoe|Paul|"
    "Charlotte|Jack|Vera|Simon|Rachel|Arthur|Nadia|Ian|Claire|Leo|Judith|Floyd",
    "adj": "small|huge|yellow|quiet|noisy|broken|wooden|smooth|rough|cheap|ancient|modern|cheerful|lonely|heavy|"
    "narrow|thick|thin|bright|dark|strange|usual|royal|golden|dusty|frozen|gentle|clever|lazy|famous|fresh|bitter|"
    "sour|wild|curious|blue|purple|orange|round|crooked|beige|joyful|whole|spare|worthy|northern",
    "thing": "book|chair|bridge|treasure|letter|boat|garage|lamp|picture|basket|mirror|bottle|television|coat|ladder|"
    "engine|key|box|bicycle|machine|map|drum|kettle|jewel|watch|camera|carpet|needle|shovel|piano|wheel|bell|rope|"
    "brush|toy|coin|flag|vase|jar|candle|cushion|hammer|magazine|path|cage|cloth|tooth|helmet|violin|orchid|shoe|fire|"
    "notebook",
    "food": "bread|soup|cheese|an orange|two pears|rice|fish|jam|a sandwich|chocolate|fresh juice|boiled eggs|"
    "mushrooms|ginger cake|roast beef|sugar|porridge|lemon tea|oysters|warm milk|a bowl of noodles|half a pie",
    "did": "bought|found|painted|carried|measured|dropped|noticed|repaired|sold|borrowed|hid|lost|washed|pushed|"
    "pulled|chose|enjoyed|destroyed|brought|shook|caught|stole|described|watched|covered|weighed|threw|moved|cleaned|"
    "joined",
    "do": "find|carry|measure|choose|avoid|change|open|close|share|push|fetch|show|keep|join|paint|leave|bring|use|"
    "hide",
    "went": "walked|ran|slept|waited|sang|laughed|worked|stood|rested|shouted|played|sat|travelled|danced|prayed|"
    "smoked|stayed|vanished|arrived|coughed|yawned|whispered",
    "place": "kitchen|garden|village|harbour|station|church|forest|valley|museum|school|office|desert|theatre|market|"
    "castle|library|city|hotel|field|cellar|south|island|workshop|hospital|beach|mountains|square|bath",
    "near": "in|near|behind|outside|beyond|above|beneath",
    "when": "yesterday|this morning|on Thursday|at noon|last month|in July|after lunch|before the storm|twice a year|"
    "every evening|at midnight|all through the night|on Wednesday|long ago|for an hour|in the spring|at the weekend",
    "how": "slowly|quickly|quietly|with pleasure|without a word|by chance|in a hurry|too soon|very well|as usual|"
    "alone|with great joy|in good faith|carefully|on purpose",
    "beast": "horse|dog|cat|sheep|fox|mouse|goose|frog|bear|whale|wolf|hedgehog|thrush|donkey|spider|beaver|lynx|calf",
    "weather": "rain|snow|fog|thunder|sunshine|wind|frost|a cold breeze|hail|clear skies|an azure sky",
    "number": "two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|fifty",
    "room": "kitchen|bedroom|hall|bathroom|garage|living room|cellar|office",
    "song": "some jazz|a quiet song|the radio|my favourite album|some guitar music|a waltz|the new record by {name}",
    "town": "London|Paris|Boston|Dublin|Chicago|Vienna|Leeds|Cairo|Tokyo|Oslo|York|Madrid",
    "day": "today|tomorrow|this evening|on Friday|on Sunday|next week|tonight|right now",
}  # fmt: skip
SENTENCES = (
    "{who} {did} the {adj} {thing}", "{who} {did} a {thing} {near} the {place}",
    "{who} {went} {near} the {adj} {place}", "{who} {went} {how} {when}",
    "the {beast} {went} {near} the {adj} {thing}", "{who} ate {food} {when}", "{when} {who} {did} the {thing} {how}",
    "did {name} {do} the {adj} {thing}?", "can you {do} the {thing} for {name}?",
    "there was {weather} {near} the {place} {when}", "the {thing} {near} the {place} is {adj}",
    "please {do} the {thing}", "{name} thinks that the {thing} looks {adj}",
    "{number} {adj} birds flew over the {place}", "where is the {thing}?", "we should {do} the {thing} {when}",
    "{who} gave the {beast} {food}", "why would {who} {do} this {thing}?",
    "they could hear the {beast} {near} the {place}", "it is a pleasure to {do} the {adj} {thing}",
    "{who} put {food} and {food} on the table", "both the {thing} and the {thing} are {adj}", "{who} {went} {when}",
    "the {person} took a good look at the {thing}", "my decision is to {do} the {adj} {thing} {how}", "{name} {went}",
    "I have never seen such {weather} {near} the {place}", "the {beast} and the {beast} {went} {how}",
    "{name} sold {number} of these for {number} pounds", "her voice was {adj} and his was {adj}",
)  # fmt: skip
INTENTS = {
    "lights_on": "turn on the lights in the {room}|switch the {room} light on|it is too dark in the {room}|lights on",
    "lights_off": "turn off the {room} lights|switch off the light in the {room}|make the {room} dark|lights off",
    "music_play": "play {song}|put on {song}|I would like to hear {song}|start {song} in the {room}",
    "music_stop": "stop the music|turn {song} off|no more music in the {room}|please be quiet|pause {song}",
    "volume_up": "louder please|turn the volume up by {number}|make it louder in the {room}|I can hardly hear {song}",
    "volume_down": "lower the volume|turn it down by {number}|{song} is too loud|make it quieter in the {room}",
    "timer_set": "set a timer for {number} minutes|count down {number} minutes|tell me when {number} minutes are over",
    "alarm_set": "wake me at {number} {day}|set an alarm for {number} o'clock|I must get up at {number} {day}",
    "weather_query": "what is the weather in {town} {day}?|will it rain in {town}?|do I need an umbrella {day}?|"
    "how cold is it in {town}?",
    "message_send": "send a message to {name}|tell {name} that I am late|write to {name} that we meet {day}|"
    "text {name}",
    "call_start": "call {name}|ring {name} {day}|I want to talk to {name}|phone {name} at the {place}",
    "heating_up": "make the {room} warmer|heat the {room} to {number} degrees|I am cold in the {room}|"
    "turn the heating up",
}  # fmt: skip

# Frequent words, to be strung together at random: enough for the sounds of a language, though not for its sense.
LANGUAGES = {
    "de": "und der die das ich nicht ist es ein zu in sie mit auf für wir haben sein werden aber auch schon schön "
    "groß klein Haus Straße Kind Mutter Vater Wasser Brot Buch Zeit Jahr Tag Nacht heute morgen gestern gehen kommen "
    "sprechen hören sehen machen können müssen zwischen über unter zwölf fünf acht Stück Köln Freund Mädchen Küche "
    "Pferd richtig",
    "fr": "le la les un une des et est je tu il elle nous vous avoir être faire aller venir voir pouvoir vouloir "
    "maison rue enfant mère père eau pain livre temps année jour nuit demain hier bon vin blanc rouge petit grand "
    "jeune vieux beaucoup peu toujours jamais aujourd'hui deux trois huit fille garçon cuisine cheval chien oiseau "
    "feuille lune champ",
    "es": "el la los una y es yo tú él ella nosotros tener ser hacer ir venir ver poder querer casa calle niño madre "
    "padre agua pan libro tiempo año día noche mañana ayer bueno rojo pequeño grande joven viejo mucho poco siempre "
    "nunca hoy dos tres ocho muchacha cocina caballo perro pájaro hoja luna campo guerra lluvia queso zapato jefe "
    "ciudad gente",
    "it": "il la lo gli una e è io tu lui lei noi avere essere fare andare venire vedere potere volere casa strada "
    "bambino madre padre acqua pane libro tempo anno giorno notte domani ieri buono rosso piccolo grande giovane "
    "vecchio molto poco sempre mai oggi due tre otto ragazza cucina cavallo cane uccello foglia luna campo guerra "
    "pioggia formaggio scarpa città gente zio",
    "pt": "o a os uma e é eu tu ele ela nós ter ser fazer ir vir ver poder querer casa rua criança mãe pai água pão "
    "livro tempo ano dia noite amanhã ontem bom vermelho pequeno grande jovem velho muito pouco sempre nunca hoje "
    "dois três oito menina cozinha cavalo cão pássaro folha lua campo guerra chuva queijo sapato cidade gente coração "
    "lhe não",
    "nl": "de het een en is ik jij hij zij wij hebben zijn doen gaan komen zien kunnen willen huis straat kind moeder "
    "vader water brood boek tijd jaar dag nacht morgen gisteren goed rood klein groot jong oud veel weinig altijd "
    "nooit vandaag twee drie acht meisje keuken paard hond vogel blad maan veld oorlog regen kaas schoen stad mensen "
    "geluid uit",
    "pl": "i w na nie to jest ja ty on ona my mieć być robić iść widzieć móc chcieć dom ulica dziecko matka ojciec "
    "woda chleb książka czas rok dzień noc jutro wczoraj dobry czerwony mały duży młody stary dużo mało zawsze nigdy "
    "dzisiaj dwa trzy osiem dziewczyna kuchnia koń pies ptak liść księżyc pole wojna deszcz ser but miasto ludzie "
    "szczęście źle",
    "tr": "ve bir bu o ben sen biz var yok olmak yapmak gitmek gelmek görmek istemek ev sokak çocuk anne baba su "
    "ekmek kitap zaman yıl gün gece yarın dün iyi kırmızı küçük büyük genç yaşlı çok az her hiç bugün iki üç sekiz "
    "kız mutfak at köpek kuş yaprak ay tarla savaş yağmur peynir ayakkabı şehir insan güzel teşekkür gözlük dağ ışık",
    "sv": "och en ett är jag du han hon vi ha vara göra gå komma se kunna vilja hus gata barn mor far vatten bröd bok "
    "tid år dag natt imorgon igår god röd liten stor ung gammal mycket lite alltid aldrig idag två tre åtta flicka "
    "kök häst hund fågel blad måne fält krig regn ost sko stad folk sju sjön skön tjugo kyrka ljus",
    "fi": "ja on ei se minä sinä hän me olla tehdä mennä tulla nähdä voida haluta talo katu lapsi äiti isä vesi leipä "
    "kirja aika vuosi päivä yö huomenna eilen hyvä punainen pieni suuri nuori vanha paljon vähän aina koskaan tänään "
    "kaksi kolme kahdeksan tyttö keittiö hevonen koira lintu lehti kuu pelto sota sade juusto kenkä kaupunki ihmiset "
    "työ",
}  # fmt: skip
