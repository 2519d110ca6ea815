# Made by lq-quantize --generate bash; do not edit.
_lq_quantize() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local words command=${COMP_WORDS[1]}
  case "$command" in
    imatrix-merge)
      case "$prev" in
        -o|--output) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -c|--ctx) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--output --ctx --force --json --color --quiet --help --version' ;;
    *)
      case "$prev" in
        --tensor-type) COMPREPLY=(); return ;;
        --tensor-type-file) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --output-tensor-type) COMPREPLY=($(compgen -W 'F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0' -- "$cur")); return ;;
        --token-embedding-type) COMPREPLY=($(compgen -W 'F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0' -- "$cur")); return ;;
        --max-fallback) COMPREPLY=(); return ;;
        --override-kv) COMPREPLY=(); return ;;
        --prune-layers) COMPREPLY=(); return ;;
        --part) COMPREPLY=(); return ;;
        --report) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --mem) COMPREPLY=(); return ;;
        --target-size) COMPREPLY=(); return ;;
        --target-bpw) COMPREPLY=(); return ;;
        --save-tensor-types) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --imatrix) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --calibrate) COMPREPLY=(); return ;;
        --save-imatrix) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        -c|--ctx) COMPREPLY=(); return ;;
        --chunks) COMPREPLY=(); return ;;
        --include-weights) COMPREPLY=(); return ;;
        --exclude-weights) COMPREPLY=(); return ;;
        --on-missing) COMPREPLY=($(compgen -W 'error raise uniform' -- "$cur")); return ;;
        --min-expert-tokens) COMPREPLY=(); return ;;
        --format) COMPREPLY=($(compgen -W 'compressed-tensors fp8 bitsandbytes gptq gptq_v2 awq modelopt' -- "$cur")); return ;;
        --method) COMPREPLY=($(compgen -W 'rtn mse hqq' -- "$cur")); return ;;
        --group-size) COMPREPLY=($(compgen -W '32 64 128 channel' -- "$cur")); return ;;
        --scale-dtype) COMPREPLY=(); return ;;
        --fp8) COMPREPLY=($(compgen -W 'e4m3 e5m2' -- "$cur")); return ;;
        --serve-with) COMPREPLY=(); return ;;
        --ignore) COMPREPLY=(); return ;;
        --source-dtype) COMPREPLY=($(compgen -W 'bf16 f16 f32' -- "$cur")); return ;;
        --max-shard-size) COMPREPLY=(); return ;;
        -t|--threads) COMPREPLY=(); return ;;
        --color) COMPREPLY=($(compgen -W 'auto always never' -- "$cur")); return ;;
      esac
      words='--dry-run --list --pure --tensor-type --tensor-type-file --output-tensor-type --token-embedding-type --leave-output-tensor --allow-requantize --max-fallback --override-kv --prune-layers --keep-split --part --resume --report --mem --target-size --target-bpw --save-tensor-types --imatrix --calibrate --save-imatrix --ctx --chunks --process-output --parse-special --include-weights --exclude-weights --on-missing --min-expert-tokens --format --method --group-size --scale-dtype --fp8 --double-quant --serve-with --ignore --source-dtype --max-shard-size --threads --force --json --color --quiet --help --version' ;;
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ $COMP_CWORD == 1 ]]; then
    COMPREPLY=($(compgen -W 'imatrix-merge' -f -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _lq_quantize lq-quantize
