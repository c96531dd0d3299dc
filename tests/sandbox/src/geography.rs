//! Countries and their states, as both systems know them.
//!
//! The ids are those of a fresh Odoo database; WooCommerce uses the codes. Only the countries whose states matter to
//! the tests have any: elsewhere a state is free text in WooCommerce and missing in Odoo, as in the real systems
//! (`facts/mapping-odoo.md`, section 2).

/// One country.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Country {
    pub(crate) id: i64,
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
}

/// One state, province or region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) id: i64,
    pub(crate) country: &'static str,
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
}

/// Returns the states that WooCommerce offers for a country.
///
/// Great Britain has none there although Odoo has some; the Pacific islands of the United States are Odoo's alone.
pub(crate) fn shop_states(country: &str) -> impl Iterator<Item = &'static State> {
    let country = country.to_owned();
    STATES
        .iter()
        .filter(move |state| state.country == country && country != "GB" && !is_erp_only(state))
}

fn is_erp_only(state: &State) -> bool {
    state.country == "US" && matches!(state.code, "AS" | "FM" | "GU" | "MH" | "MP" | "PW" | "PR" | "VI")
}

/// Finds a country by its code.
pub(crate) fn country(code: &str) -> Option<&'static Country> {
    COUNTRIES.iter().find(|country| country.code == code)
}

/// Finds a state by the code of its country and its own.
pub(crate) fn state(country: &str, code: &str) -> Option<&'static State> {
    STATES
        .iter()
        .find(|state| state.country == country && state.code == code)
}

const fn land(id: i64, code: &'static str, name: &'static str) -> Country {
    Country { id, code, name }
}

const fn part(id: i64, country: &'static str, code: &'static str, name: &'static str) -> State {
    State {
        id,
        country,
        code,
        name,
    }
}

#[rustfmt::skip]
pub(crate) const COUNTRIES: &[Country] = &[
    land(1, "AD", "Andorra"), land(2, "AE", "United Arab Emirates"), land(3, "AF", "Afghanistan"),
    land(4, "AG", "Antigua and Barbuda"), land(5, "AI", "Anguilla"), land(6, "AL", "Albania"),
    land(7, "AM", "Armenia"), land(8, "AO", "Angola"), land(9, "AQ", "Antarctica"), land(10, "AR", "Argentina"),
    land(11, "AS", "American Samoa"), land(12, "AT", "Austria"), land(13, "AU", "Australia"),
    land(14, "AW", "Aruba"), land(15, "AX", "Åland Islands"), land(16, "AZ", "Azerbaijan"),
    land(17, "BA", "Bosnia and Herzegovina"), land(18, "BB", "Barbados"), land(19, "BD", "Bangladesh"),
    land(20, "BE", "Belgium"), land(21, "BF", "Burkina Faso"), land(22, "BG", "Bulgaria"), land(23, "BH", "Bahrain"),
    land(24, "BI", "Burundi"), land(25, "BJ", "Benin"), land(26, "BL", "Saint Barthélémy"),
    land(27, "BM", "Bermuda"), land(28, "BN", "Brunei Darussalam"), land(29, "BO", "Bolivia"),
    land(30, "BQ", "Bonaire, Sint Eustatius and Saba"), land(31, "BR", "Brazil"), land(32, "BS", "Bahamas"),
    land(33, "BT", "Bhutan"), land(34, "BV", "Bouvet Island"), land(35, "BW", "Botswana"), land(36, "BY", "Belarus"),
    land(37, "BZ", "Belize"), land(38, "CA", "Canada"), land(39, "CC", "Cocos (Keeling) Islands"),
    land(40, "CF", "Central African Republic"), land(41, "CD", "Congo (DRC)"), land(42, "CG", "Congo (Republic)"),
    land(43, "CH", "Switzerland"), land(44, "CI", "Côte d'Ivoire"), land(45, "CK", "Cook Islands"),
    land(46, "CL", "Chile"), land(47, "CM", "Cameroon"), land(48, "CN", "China"), land(49, "CO", "Colombia"),
    land(50, "CR", "Costa Rica"), land(51, "CU", "Cuba"), land(52, "CV", "Cape Verde"), land(53, "CW", "Curaçao"),
    land(54, "CX", "Christmas Island"), land(55, "CY", "Cyprus"), land(56, "CZ", "Czech Republic"),
    land(57, "DE", "Germany"), land(58, "DJ", "Djibouti"), land(59, "DK", "Denmark"), land(60, "DM", "Dominica"),
    land(61, "DO", "Dominican Republic"), land(62, "DZ", "Algeria"), land(63, "EC", "Ecuador"),
    land(64, "EE", "Estonia"), land(65, "EG", "Egypt"), land(66, "EH", "Western Sahara"), land(67, "ER", "Eritrea"),
    land(68, "ES", "Spain"), land(69, "ET", "Ethiopia"), land(70, "FI", "Finland"), land(71, "FJ", "Fiji"),
    land(72, "FK", "Falkland Islands"), land(73, "FM", "Micronesia"), land(74, "FO", "Faroe Islands"),
    land(75, "FR", "France"), land(76, "GA", "Gabon"), land(77, "GD", "Grenada"), land(78, "GE", "Georgia"),
    land(79, "GF", "French Guiana"), land(80, "GH", "Ghana"), land(81, "GI", "Gibraltar"), land(82, "GG", "Guernsey"),
    land(83, "GL", "Greenland"), land(84, "GM", "Gambia"), land(85, "GN", "Guinea"), land(86, "GP", "Guadeloupe"),
    land(87, "GQ", "Equatorial Guinea"), land(88, "GR", "Greece"), land(89, "GS", "South Georgia and the South Sandwich Islands"),
    land(90, "GT", "Guatemala"), land(91, "GU", "Guam"), land(92, "GW", "Guinea-Bissau"), land(93, "GY", "Guyana"),
    land(94, "HK", "Hong Kong"), land(95, "HM", "Heard Island and McDonald Islands"), land(96, "HN", "Honduras"),
    land(97, "HR", "Croatia"), land(98, "HT", "Haiti"), land(99, "HU", "Hungary"), land(100, "ID", "Indonesia"),
    land(101, "IE", "Ireland"), land(102, "IL", "Israel"), land(103, "IM", "Isle of Man"), land(104, "IN", "India"),
    land(105, "IO", "British Indian Ocean Territory"), land(106, "IQ", "Iraq"), land(107, "IR", "Iran"),
    land(108, "IS", "Iceland"), land(109, "IT", "Italy"), land(110, "JE", "Jersey"), land(111, "JM", "Jamaica"),
    land(112, "JO", "Jordan"), land(113, "JP", "Japan"), land(114, "KE", "Kenya"), land(115, "KG", "Kyrgyzstan"),
    land(116, "KH", "Cambodia"), land(117, "KI", "Kiribati"), land(118, "KM", "Comoros"), land(119, "KN", "Saint Kitts and Nevis"),
    land(120, "KP", "North Korea"), land(121, "KR", "South Korea"), land(122, "KW", "Kuwait"),
    land(123, "KY", "Cayman Islands"), land(124, "KZ", "Kazakhstan"), land(125, "LA", "Laos"),
    land(126, "LB", "Lebanon"), land(127, "LC", "Saint Lucia"), land(128, "LI", "Liechtenstein"),
    land(129, "LK", "Sri Lanka"), land(130, "LR", "Liberia"), land(131, "LS", "Lesotho"), land(132, "LT", "Lithuania"),
    land(133, "LU", "Luxembourg"), land(134, "LV", "Latvia"), land(135, "LY", "Libya"), land(136, "MA", "Morocco"),
    land(137, "MC", "Monaco"), land(138, "MD", "Moldova"), land(139, "ME", "Montenegro"), land(140, "MF", "Saint Martin (French part)"),
    land(141, "MG", "Madagascar"), land(142, "MH", "Marshall Islands"), land(143, "MK", "North Macedonia"),
    land(144, "ML", "Mali"), land(145, "MM", "Myanmar"), land(146, "MN", "Mongolia"), land(147, "MO", "Macau"),
    land(148, "MP", "Northern Mariana Islands"), land(149, "MQ", "Martinique"), land(150, "MR", "Mauritania"),
    land(151, "MS", "Montserrat"), land(152, "MT", "Malta"), land(153, "MU", "Mauritius"), land(154, "MV", "Maldives"),
    land(155, "MW", "Malawi"), land(156, "MX", "Mexico"), land(157, "MY", "Malaysia"), land(158, "MZ", "Mozambique"),
    land(159, "NA", "Namibia"), land(160, "NC", "New Caledonia"), land(161, "NE", "Niger"),
    land(162, "NF", "Norfolk Island"), land(163, "NG", "Nigeria"), land(164, "NI", "Nicaragua"),
    land(165, "NL", "Netherlands"), land(166, "NO", "Norway"), land(167, "NP", "Nepal"), land(168, "NR", "Nauru"),
    land(169, "NU", "Niue"), land(170, "NZ", "New Zealand"), land(171, "OM", "Oman"), land(172, "PA", "Panama"),
    land(173, "PE", "Peru"), land(174, "PF", "French Polynesia"), land(175, "PG", "Papua New Guinea"),
    land(176, "PH", "Philippines"), land(177, "PK", "Pakistan"), land(178, "PL", "Poland"),
    land(179, "PM", "Saint Pierre and Miquelon"), land(180, "PN", "Pitcairn Islands"), land(181, "PR", "Puerto Rico"),
    land(182, "PS", "State of Palestine"), land(183, "PT", "Portugal"), land(184, "PW", "Palau"),
    land(185, "PY", "Paraguay"), land(186, "QA", "Qatar"), land(187, "RE", "Réunion"), land(188, "RO", "Romania"),
    land(189, "RS", "Serbia"), land(190, "RU", "Russian Federation"), land(191, "RW", "Rwanda"),
    land(192, "SA", "Saudi Arabia"), land(193, "SB", "Solomon Islands"), land(194, "SC", "Seychelles"),
    land(195, "SD", "Sudan"), land(196, "SE", "Sweden"), land(197, "SG", "Singapore"), land(198, "SH", "Saint Helena, Ascension and Tristan da Cunha"),
    land(199, "SI", "Slovenia"), land(200, "SJ", "Svalbard and Jan Mayen"), land(201, "SK", "Slovakia"),
    land(202, "SL", "Sierra Leone"), land(203, "SM", "San Marino"), land(204, "SN", "Senegal"),
    land(205, "SO", "Somalia"), land(206, "SR", "Suriname"), land(207, "SS", "South Sudan"),
    land(208, "ST", "São Tomé and Príncipe"), land(209, "SV", "El Salvador"), land(210, "SX", "Sint Maarten (Dutch part)"),
    land(211, "SY", "Syria"), land(212, "SZ", "Eswatini"), land(213, "TC", "Turks and Caicos Islands"),
    land(214, "TD", "Chad"), land(215, "TF", "French Southern Territories"), land(216, "TG", "Togo"),
    land(217, "TH", "Thailand"), land(218, "TJ", "Tajikistan"), land(219, "TK", "Tokelau"),
    land(220, "TM", "Turkmenistan"), land(221, "TN", "Tunisia"), land(222, "TO", "Tonga"), land(223, "TL", "Timor-Leste"),
    land(224, "TR", "Türkiye"), land(225, "TT", "Trinidad and Tobago"), land(226, "TV", "Tuvalu"),
    land(227, "TW", "Taiwan"), land(228, "TZ", "Tanzania"), land(229, "UA", "Ukraine"), land(230, "UG", "Uganda"),
    land(231, "GB", "United Kingdom"), land(232, "UM", "USA Minor Outlying Islands"), land(233, "US", "United States"),
    land(234, "UY", "Uruguay"), land(235, "UZ", "Uzbekistan"), land(236, "VA", "Holy See (Vatican City State)"),
    land(237, "VC", "Saint Vincent and the Grenadines"), land(238, "VE", "Venezuela"), land(239, "VG", "Virgin Islands (British)"),
    land(240, "VI", "Virgin Islands (USA)"), land(241, "VN", "Vietnam"), land(242, "VU", "Vanuatu"),
    land(243, "WF", "Wallis and Futuna"), land(244, "WS", "Samoa"), land(245, "YE", "Yemen"),
    land(246, "YT", "Mayotte"), land(247, "ZA", "South Africa"), land(248, "ZM", "Zambia"),
    land(249, "ZW", "Zimbabwe"), land(250, "XI", "Northern Ireland"), land(251, "XK", "Kosovo"),
];

#[rustfmt::skip]
pub(crate) const STATES: &[State] = &[
    part(9, "US", "AL", "Alabama"), part(10, "US", "AK", "Alaska"), part(11, "US", "AZ", "Arizona"),
    part(12, "US", "AR", "Arkansas"), part(13, "US", "CA", "California"), part(14, "US", "CO", "Colorado"),
    part(15, "US", "CT", "Connecticut"), part(16, "US", "DE", "Delaware"), part(17, "US", "DC", "District of Columbia"),
    part(18, "US", "FL", "Florida"), part(19, "US", "GA", "Georgia"), part(20, "US", "HI", "Hawaii"),
    part(21, "US", "ID", "Idaho"), part(22, "US", "IL", "Illinois"), part(23, "US", "IN", "Indiana"),
    part(24, "US", "IA", "Iowa"), part(25, "US", "KS", "Kansas"), part(26, "US", "KY", "Kentucky"),
    part(27, "US", "LA", "Louisiana"), part(28, "US", "ME", "Maine"), part(29, "US", "MT", "Montana"),
    part(30, "US", "NE", "Nebraska"), part(31, "US", "NV", "Nevada"), part(32, "US", "NH", "New Hampshire"),
    part(33, "US", "NJ", "New Jersey"), part(34, "US", "NM", "New Mexico"), part(35, "US", "NY", "New York"),
    part(36, "US", "NC", "North Carolina"), part(37, "US", "ND", "North Dakota"),
    part(38, "US", "OH", "Ohio"), part(39, "US", "OK", "Oklahoma"), part(40, "US", "OR", "Oregon"),
    part(41, "US", "MD", "Maryland"), part(42, "US", "MA", "Massachusetts"), part(43, "US", "MI", "Michigan"),
    part(44, "US", "MN", "Minnesota"), part(45, "US", "MS", "Mississippi"), part(46, "US", "MO", "Missouri"),
    part(47, "US", "PA", "Pennsylvania"), part(48, "US", "RI", "Rhode Island"), part(49, "US", "SC", "South Carolina"),
    part(50, "US", "SD", "South Dakota"), part(51, "US", "TN", "Tennessee"), part(52, "US", "TX", "Texas"),
    part(53, "US", "UT", "Utah"), part(54, "US", "VT", "Vermont"), part(55, "US", "VA", "Virginia"),
    part(56, "US", "WA", "Washington"), part(57, "US", "WV", "West Virginia"), part(58, "US", "WI", "Wisconsin"),
    part(59, "US", "WY", "Wyoming"), part(60, "US", "AS", "American Samoa"), part(61, "US", "FM", "Federated States of Micronesia"),
    part(62, "US", "GU", "Guam"), part(63, "US", "MH", "Marshall Islands"), part(64, "US", "MP", "Northern Mariana Islands"),
    part(65, "US", "PW", "Palau"), part(66, "US", "PR", "Puerto Rico"), part(67, "US", "VI", "Virgin Islands"),
    part(68, "US", "AA", "Armed Forces Americas"), part(69, "US", "AE", "Armed Forces Europe"),
    part(70, "US", "AP", "Armed Forces Pacific"), part(417, "ES", "C", "A Coruña (La Coruña)"),
    part(418, "ES", "VI", "Araba/Álava"), part(419, "ES", "AB", "Albacete"), part(420, "ES", "A", "Alacant (Alicante)"),
    part(421, "ES", "AL", "Almería"), part(422, "ES", "O", "Asturias"), part(423, "ES", "AV", "Ávila"),
    part(424, "ES", "BA", "Badajoz"), part(425, "ES", "PM", "Illes Balears (Islas Baleares)"),
    part(426, "ES", "B", "Barcelona"), part(427, "ES", "BU", "Burgos"), part(428, "ES", "CC", "Cáceres"),
    part(429, "ES", "CA", "Cádiz"), part(430, "ES", "S", "Cantabria"), part(431, "ES", "CS", "Castelló (Castellón)"),
    part(432, "ES", "CE", "Ceuta"), part(433, "ES", "CR", "Ciudad Real"), part(434, "ES", "CO", "Córdoba"),
    part(435, "ES", "CU", "Cuenca"), part(436, "ES", "GI", "Girona (Gerona)"), part(437, "ES", "GR", "Granada"),
    part(438, "ES", "GU", "Guadalajara"), part(439, "ES", "SS", "Gipuzkoa (Guipúzcoa)"),
    part(440, "ES", "H", "Huelva"), part(441, "ES", "HU", "Huesca"), part(442, "ES", "J", "Jaén"),
    part(443, "ES", "LO", "La Rioja"), part(444, "ES", "GC", "Las Palmas"), part(445, "ES", "LE", "León"),
    part(446, "ES", "L", "Lleida (Lérida)"), part(447, "ES", "LU", "Lugo"), part(448, "ES", "M", "Madrid"),
    part(449, "ES", "MA", "Málaga"), part(450, "ES", "ME", "Melilla"), part(451, "ES", "MU", "Murcia"),
    part(452, "ES", "NA", "Navarra (Nafarroa)"), part(453, "ES", "OR", "Ourense (Orense)"),
    part(454, "ES", "P", "Palencia"), part(455, "ES", "PO", "Pontevedra"), part(456, "ES", "SA", "Salamanca"),
    part(457, "ES", "TF", "Santa Cruz de Tenerife"), part(458, "ES", "SG", "Segovia"),
    part(459, "ES", "SE", "Sevilla"), part(460, "ES", "SO", "Soria"), part(461, "ES", "T", "Tarragona"),
    part(462, "ES", "TE", "Teruel"), part(463, "ES", "TO", "Toledo"), part(464, "ES", "V", "València (Valencia)"),
    part(465, "ES", "VA", "Valladolid"), part(466, "ES", "BI", "Bizkaia (Vizcaya)"),
    part(467, "ES", "ZA", "Zamora"), part(468, "ES", "Z", "Zaragoza"), part(533, "CA", "AB", "Alberta"),
    part(534, "CA", "BC", "British Columbia"), part(535, "CA", "MB", "Manitoba"),
    part(536, "CA", "NB", "New Brunswick"), part(537, "CA", "NL", "Newfoundland and Labrador"),
    part(538, "CA", "NT", "Northwest Territories"), part(539, "CA", "NS", "Nova Scotia"),
    part(540, "CA", "NU", "Nunavut"), part(541, "CA", "ON", "Ontario"), part(542, "CA", "PE", "Prince Edward Island"),
    part(543, "CA", "QC", "Quebec"), part(544, "CA", "SK", "Saskatchewan"), part(545, "CA", "YT", "Yukon"),
    part(600, "IT", "AG", "Agrigento"), part(601, "IT", "AL", "Alessandria"), part(602, "IT", "AN", "Ancona"),
    part(603, "IT", "AO", "Aosta"), part(604, "IT", "AR", "Arezzo"), part(605, "IT", "AP", "Ascoli Piceno"),
    part(606, "IT", "AT", "Asti"), part(607, "IT", "AV", "Avellino"), part(608, "IT", "BA", "Bari"),
    part(609, "IT", "BL", "Belluno"), part(610, "IT", "BN", "Benevento"), part(611, "IT", "BG", "Bergamo"),
    part(612, "IT", "BI", "Biella"), part(613, "IT", "BO", "Bologna"), part(614, "IT", "BZ", "Bolzano"),
    part(615, "IT", "BS", "Brescia"), part(616, "IT", "BR", "Brindisi"), part(617, "IT", "CA", "Cagliari"),
    part(618, "IT", "CT", "Catania"), part(619, "IT", "CO", "Como"), part(620, "IT", "CR", "Cremona"),
    part(621, "IT", "CN", "Cuneo"), part(622, "IT", "FE", "Ferrara"), part(623, "IT", "FI", "Firenze"),
    part(624, "IT", "FG", "Foggia"), part(625, "IT", "GE", "Genova"), part(626, "IT", "IM", "Imperia"),
    part(627, "IT", "LE", "Lecce"), part(628, "IT", "LC", "Lecco"), part(629, "IT", "LI", "Livorno"),
    part(630, "IT", "LU", "Lucca"), part(631, "IT", "MC", "Macerata"), part(632, "IT", "MN", "Mantova"),
    part(633, "IT", "MS", "Massa-Carrara"), part(634, "IT", "MT", "Matera"), part(635, "IT", "ME", "Messina"),
    part(636, "IT", "MI", "Milano"), part(637, "IT", "MO", "Modena"), part(638, "IT", "NA", "Napoli"),
    part(639, "IT", "NO", "Novara"), part(640, "IT", "PD", "Padova"), part(641, "IT", "PA", "Palermo"),
    part(642, "IT", "PR", "Parma"), part(643, "IT", "PV", "Pavia"), part(644, "IT", "PG", "Perugia"),
    part(645, "IT", "PE", "Pescara"), part(646, "IT", "PC", "Piacenza"), part(647, "IT", "PI", "Pisa"),
    part(648, "IT", "PT", "Pistoia"), part(649, "IT", "PZ", "Potenza"), part(650, "IT", "RA", "Ravenna"),
    part(651, "IT", "RE", "Reggio Emilia"), part(652, "IT", "RI", "Rieti"), part(653, "IT", "RN", "Rimini"),
    part(654, "IT", "RM", "Roma"), part(655, "IT", "SA", "Salerno"), part(656, "IT", "SS", "Sassari"),
    part(657, "IT", "SV", "Savona"), part(658, "IT", "SI", "Siena"), part(659, "IT", "SR", "Siracusa"),
    part(660, "IT", "TN", "Trento"), part(661, "IT", "TP", "Trapani"), part(662, "IT", "TV", "Treviso"),
    part(663, "IT", "TS", "Trieste"), part(664, "IT", "TO", "Torino"), part(665, "IT", "TR", "Terni"),
    part(666, "IT", "UD", "Udine"), part(667, "IT", "VA", "Varese"), part(668, "IT", "VE", "Venezia"),
    part(669, "IT", "VC", "Vercelli"), part(670, "IT", "VR", "Verona"), part(671, "IT", "VI", "Vicenza"),
    part(672, "IT", "VT", "Viterbo"), part(800, "GB", "LND", "London"), part(801, "GB", "KEN", "Kent"),
    part(802, "GB", "ESS", "Essex"), part(803, "GB", "DEV", "Devon"), part(804, "GB", "SRY", "Surrey"),
    part(1359, "DE", "DE-BW", "Baden-Württemberg"), part(1360, "DE", "DE-BY", "Bayern"),
    part(1361, "DE", "DE-BE", "Berlin"), part(1362, "DE", "DE-BB", "Brandenburg"),
    part(1363, "DE", "DE-HB", "Bremen"), part(1364, "DE", "DE-HH", "Hamburg"), part(1365, "DE", "DE-HE", "Hessen"),
    part(1366, "DE", "DE-MV", "Mecklenburg-Vorpommern"), part(1367, "DE", "DE-NI", "Niedersachsen"),
    part(1368, "DE", "DE-NW", "Nordrhein-Westfalen"), part(1369, "DE", "DE-RP", "Rheinland-Pfalz"),
    part(1370, "DE", "DE-SL", "Saarland"), part(1371, "DE", "DE-SN", "Sachsen"), part(1372, "DE", "DE-ST", "Sachsen-Anhalt"),
    part(1373, "DE", "DE-SH", "Schleswig-Holstein"), part(1374, "DE", "DE-TH", "Thüringen"),
];
