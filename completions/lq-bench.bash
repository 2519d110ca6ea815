# Made by lq-bench --generate bash; do not edit.
_lq_bench() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    kernels)
      case "$prev" in
        --type) COMPREPLY=($(compgen -W 'F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0 I4_32 I4_128 I8_32 I8_128 E4M3_32 E4M3_128 NF4 FP4 FP4_16' -- "$cur")); return ;;
        --op) COMPREPLY=($(compgen -W 'encode encode-importance decode matmul repack panels-1 panels-32 stream-1' -- "$cur")); return ;;
        --shape) COMPREPLY=(); return ;;
        --isa) COMPREPLY=(); return ;;
        -r|--repetitions) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--type --op --shape --isa --repetitions --explain --json --color --quiet --help --version' ;;
    ppl)
      case "$prev" in
        -c|--ctx) COMPREPLY=(); return ;;
        --chunks) COMPREPLY=(); return ;;
        --kv-type) COMPREPLY=($(compgen -W 'f16 f32 q8_0' -- "$cur")); return ;;
        -o|--output) COMPREPLY=($(compgen -W 'text md csv json jsonl' -- "$cur")); return ;;
        -f|--file) COMPREPLY=(); return ;;
        --save-logits) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--ctx --chunks --kv-type --exact --output --no-hash --file --save-logits --threads --force --json --color --quiet --help --version' ;;
    kld)
      case "$prev" in
        -c|--ctx) COMPREPLY=(); return ;;
        --chunks) COMPREPLY=(); return ;;
        --kv-type) COMPREPLY=($(compgen -W 'f16 f32 q8_0' -- "$cur")); return ;;
        -o|--output) COMPREPLY=($(compgen -W 'text md csv json jsonl' -- "$cur")); return ;;
        -f|--file) COMPREPLY=(); return ;;
        --ref) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --base) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--ctx --chunks --kv-type --exact --output --no-hash --file --ref --base --threads --json --color --quiet --help --version' ;;
    *)
      case "$prev" in
        -p|--n-prompt) COMPREPLY=(); return ;;
        -n|--n-gen) COMPREPLY=(); return ;;
        -d|--depth) COMPREPLY=(); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        -r|--repetitions) COMPREPLY=(); return ;;
        --kv-type) COMPREPLY=($(compgen -W 'f16 f32 q8_0' -- "$cur")); return ;;
        -o|--output) COMPREPLY=($(compgen -W 'md json' -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--n-prompt --n-gen --depth --threads --repetitions --kv-type --output --exact --no-hash --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ $COMP_CWORD == 1 ]]; then
    COMPREPLY=($(compgen -W 'kernels ppl kld' -f -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_bench lq-bench
