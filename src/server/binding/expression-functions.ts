// The functions an author's expression may call: a list of what is allowed, because DuckDB's own list grows with every
// release and holds functions that read settings, the session or the catalogue. What is not here is refused, whatever
// it is: here and, since executors only get plans that were compiled here, there.

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** Their value follows from their arguments. */
export const PURE_FUNCTIONS = words(`
  abs acos acosh add ascii asin asinh atan atan2 atanh bin bit_count cbrt ceil ceiling cos cosh cot degrees divide even
  exp factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor hamming isfinite isinf isnan lcm least
  least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even
  roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor nullif coalesce if ifnull switch error typeof

  bar base64 bit_length char_length character_length chr concat concat_ws contains damerau_levenshtein decode editdist3
  encode ends_with format format_bytes from_base64 from_binary from_hex hash hex ilike_escape instr jaccard
  jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme levenshtein like_escape
  lower lpad ltrim md5 md5_number md5_number_lower md5_number_upper mismatches nfc_normalize not_ilike_escape
  not_like_escape octet_length ord parse_filename parse_dirname parse_dirpath parse_path parse_formatted_bytes position
  prefix printf regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
  regexp_split_to_array repeat replace reverse right right_grapheme rpad rtrim sha1 sha256 split split_part starts_with
  str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen strpos substr substring
  substring_grapheme suffix to_base to_base64 to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode
  url_encode formatreadabledecimalsize formatreadablesize uuid_extract_timestamp uuid_extract_version

  age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
  dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian last_day
  make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond millennium
  millisecond minute month monthname nanosecond normalized_interval quarter second strftime strptime time_bucket
  timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours to_microseconds to_millennia
  to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks to_years try_strptime week weekday
  weekofyear year yearweek

  array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains array_cosine_distance
  array_cosine_similarity array_cross_product array_distance array_distinct array_dot_product array_extract array_filter
  array_grade_up array_has array_has_all array_has_any array_indexof array_inner_product array_intersect array_length
  array_negative_dot_product array_negative_inner_product array_pop_back array_pop_front array_position array_prepend
  array_push_back array_push_front array_reduce array_resize array_reverse array_reverse_sort array_select array_slice
  array_sort array_to_json array_to_string array_transform array_unique array_value array_where array_zip aggregate apply
  cardinality element_at equi_width_bins filter flatten generate_series grade_up list_aggr list_aggregate list_any_value
  list_append list_apply list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor list_bool_and
  list_bool_or list_cat list_concat list_contains list_cosine_distance list_cosine_similarity list_count list_distance
  list_distinct list_dot_product list_element list_entropy list_extract list_filter list_first list_grade_up list_has
  list_has_all list_has_any list_histogram list_indexof list_inner_product list_intersect list_kurtosis
  list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode list_negative_dot_product
  list_negative_inner_product list_pack list_position list_prepend list_product list_reduce list_resize list_reverse
  list_reverse_sort list_select list_sem list_skewness list_slice list_sort list_stddev_pop list_stddev_samp
  list_string_agg list_sum list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip range
  reduce

  map map_concat map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value
  map_from_entries map_keys map_values row struct_concat struct_contains struct_extract struct_extract_at struct_has
  struct_indexof struct_insert struct_keys struct_pack struct_position struct_update struct_values row_to_json

  from_json from_json_strict json json_array json_array_length json_contains json_exists json_extract json_extract_path
  json_extract_path_text json_extract_string json_keys json_merge_patch json_object json_pretty json_quote
  json_structure json_transform json_transform_strict json_type json_valid json_value to_json
`);

/** Their value is left to chance or to the clock: allowed, and the result is never reused. */
export const CHANCE_FUNCTIONS = words(`
  random uuid gen_random_uuid uuidv4 uuidv7 now today get_current_timestamp get_current_time transaction_timestamp
  current_date current_time current_timestamp current_localtime current_localtimestamp localtime localtimestamp ago
`);

/** Names that are values without parentheses when no column is called so. */
export const CLOCK_NAMES = words("current_date current_time current_timestamp localtime localtimestamp");

/** Functions that take a lambda, whose parameters are then no columns. */
export const LAMBDA_FUNCTIONS = words(`
  list_transform array_transform list_apply array_apply apply list_filter array_filter filter list_reduce array_reduce
  reduce
`);

/** Functions over many rows: they belong into an aggregate operator. */
export const AGGREGATE_FUNCTIONS = words(`
  any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min array_agg avg bit_and bit_or bit_xor bool_and
  bool_or corr count count_if count_star countif first last list max max_by mean median min min_by mode product quantile
  quantile_cont quantile_disc stddev stddev_pop stddev_samp string_agg group_concat listagg sum var_pop var_samp variance
  row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
`);
