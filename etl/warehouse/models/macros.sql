{# A JSON document without unpaired surrogates, such as \ud83d alone, which some records have. BigQuery cannot parse a
   document with one, and the other engines replace it by different characters. #}
{% macro without_half_surrogates(document) -%}
CASE
      WHEN STRPOS({{ document }}, r'\ud') > 0 OR STRPOS({{ document }}, r'\uD') > 0 THEN REGEXP_REPLACE(
        {{ document }},
        r'(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}',
        r'\1'
      )
      ELSE {{ document }}
    END
{%- endmacro %}
